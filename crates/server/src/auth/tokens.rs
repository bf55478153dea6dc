//! Service account tokens: JSON web tokens, signed with ES256 by a key of the cluster.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_api::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use coracle_api::{FieldError, Kind, Object, Status, Timestamp};
use coracle_store::Snapshot;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::auth::AUTHENTICATED;
use crate::pipeline::request::{Request, User};
use crate::pipeline::source::{Entropy, rfc3339};
use crate::pipeline::verbs::{existing, text};

/// Who issues the tokens, and whom they are meant for when nobody says.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What a client gets who does not say how long.
const LIFETIME_SECONDS: i64 = 3600;
const LIFETIME_MIN: i64 = 600;
const LIFETIME_MAX: i64 = 1 << 32;

/// The key, and what is signed with it.
pub struct Tokens {
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
}

/// The key that signs tokens is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the key of the service accounts cannot be used: {0}")]
pub struct UnusableKey(ring::error::KeyRejected);

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours.
    #[error("invalid bearer token")]
    Invalid,
    /// Its time is over, or has not come.
    #[error("service account token has expired")]
    Expired,
    /// It is meant for somebody else.
    #[error("token audiences are not for this server")]
    Audience,
    /// The account, or what the token is bound to, is gone.
    #[error("service account token has been invalidated")]
    Invalidated,
}

impl Tokens {
    /// Signs with the key in `pkcs8` (DER).
    ///
    /// # Errors
    /// When that is no P-256 key.
    pub fn new(pkcs8: &[u8]) -> Result<Self, UnusableKey> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(UnusableKey)?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(Self { key, key_id, random })
    }

    /// `/openid/v1/jwks`: what others verify our tokens with.
    #[must_use]
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 4, then both coordinates.
        let point = self.key.public_key().as_ref();
        let coordinate = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
        json!({"keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": coordinate(1..33),
            "y": coordinate(33..65),
        }]})
    }

    /// A token that says `claims`.
    fn sign(&self, claims: &Value) -> Result<String, Status> {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| Status::internal("the token could not be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token of ours says, whether or not it still holds.
    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = self.key.public_key().as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    /// The user of `token`, if one of `audiences` is meant and all it rests on is still there;
    /// with the audiences that fit.
    ///
    /// # Errors
    /// Why the token is not believed.
    pub fn verify(
        &self,
        snapshot: &Snapshot,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(User, Vec<String>), TokenError> {
        let claims = self.claims(token).ok_or(TokenError::Invalid)?;
        if claims["iss"] != ISSUER {
            return Err(TokenError::Invalid);
        }
        let (seconds, at) = (now.as_second(), |field: &str| claims[field].as_i64());
        if at("exp").is_none_or(|end| seconds >= end)
            || at("nbf").is_some_and(|from| seconds < from)
        {
            return Err(TokenError::Expired);
        }
        let fitting: Vec<String> = claims["aud"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|audience| audiences.iter().any(|wanted| wanted == audience))
            .map(str::to_owned)
            .collect();
        if fitting.is_empty() {
            return Err(TokenError::Audience);
        }
        let user = bound_user(snapshot, &claims).ok_or(TokenError::Invalidated)?;
        Ok((user, fitting))
    }

    /// Carries a TokenRequest out.
    ///
    /// # Errors
    /// 404 without the account, 409 and 422 for a request that does not fit.
    pub(crate) fn request(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        mut body: Value,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Result<Value, Status> {
        check_name(request, &body)?;
        let account = existing(snapshot, request)?;
        let errors = errors(&body["spec"]);
        if !errors.is_empty() {
            return Err(Status::invalid(&token_request(request), "", &errors));
        }
        let lifetime = body["spec"]["expirationSeconds"].as_i64().unwrap_or(LIFETIME_SECONDS);
        let audiences = match &body["spec"]["audiences"] {
            Value::Array(all) if !all.is_empty() => all.clone(),
            _ => vec![ISSUER.into()],
        };
        let end = coracle_api::time::after(now, lifetime);
        let (seconds, key) = (now.as_second(), account.key());
        let mut bound = json!({
            "namespace": *key.namespace,
            "serviceaccount": {"name": *key.name, "uid": account.metadata().uid},
        });
        bind(snapshot, request, &body["spec"]["boundObjectRef"], &mut bound)?;
        let claims = json!({
            "aud": audiences,
            "exp": end.as_second(),
            "iat": seconds,
            "iss": ISSUER,
            "jti": entropy.uid(),
            "kubernetes.io": bound,
            "nbf": seconds,
            "sub": format!("system:serviceaccount:{}:{}", key.namespace, key.name),
        });
        body["kind"] = "TokenRequest".into();
        body["apiVersion"] = "authentication.k8s.io/v1".into();
        body["metadata"] = json!({
            "name": *key.name,
            "namespace": *key.namespace,
            "creationTimestamp": rfc3339(now),
        });
        body["spec"]["audiences"] = audiences.into();
        body["spec"]["expirationSeconds"] = lifetime.into();
        body["status"] = json!({"token": self.sign(&claims)?, "expirationTimestamp": rfc3339(end)});
        Ok(body)
    }
}

/// The kind that errors speak of: the row is that of the account.
fn token_request(request: &Request) -> Kind {
    let (group, kind) = ("authentication.k8s.io".into(), "TokenRequest".into());
    Kind { group, kind, ..(*request.kind).clone() }
}

/// A token is asked for in the name of the account in the URL, or in no name.
fn check_name(request: &Request, body: &Value) -> Result<(), Status> {
    let name = text(body, "/metadata/name");
    if name.is_empty() || name == request.name {
        return Ok(());
    }
    let why = "must match the service account name if specified";
    let error = FieldError::invalid("metadata.name", &body["metadata"]["name"], why);
    Err(Status::invalid(&token_request(request), &request.name, &[error]))
}

fn errors(spec: &Value) -> Vec<FieldError> {
    let seconds = &spec["expirationSeconds"];
    let why = match seconds.as_i64() {
        Some(given) if given < LIFETIME_MIN => "may not specify a duration less than 10 minutes",
        Some(given) if given > LIFETIME_MAX => {
            "may not specify a duration larger than 2^32 seconds"
        }
        _ => return Vec::new(),
    };
    vec![FieldError::invalid("spec.expirationSeconds", seconds, why)]
}

/// Binds a token to the life of a pod, a secret or a node.
fn bind(
    snapshot: &Snapshot,
    request: &Request,
    reference: &Value,
    bound: &mut Value,
) -> Result<(), Status> {
    if reference.is_null() {
        return Ok(());
    }
    let (kind, name) = (text(reference, "/kind"), text(reference, "/name"));
    let (resource, namespace, claim) = match kind {
        "Pod" => (PODS, request.namespace.as_str(), "pod"),
        "Secret" => (SECRETS, request.namespace.as_str(), "secret"),
        "Node" => (NODES, "", "node"),
        _ => {
            let version = text(reference, "/apiVersion");
            let message = format!("cannot bind token to object of type /{version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let missing = || {
        let message = format!("{resource} \"{name}\" not found");
        Status::failure(404, "NotFound", message).with_details(|details| {
            details.name = name.to_owned();
            details.kind = resource.to_owned();
        })
    };
    let object = snapshot.find(resource, namespace, name).ok_or_else(missing)?;
    let (wanted, uid) = (text(reference, "/uid"), &object.metadata().uid);
    if !wanted.is_empty() && wanted != uid {
        let message = format!(
            "Operation cannot be fulfilled on {resource} \"{name}\": the UID in the bound object \
             reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::failure(409, "Conflict", message));
    }
    bound[claim] = json!({"name": name, "uid": uid});
    if let Some(node) = object.str_at("/spec/nodeName")
        && let Some(node) = snapshot.find(NODES, "", node)
    {
        let metadata = node.metadata();
        bound["node"] = json!({"name": metadata.name, "uid": metadata.uid});
    }
    Ok(())
}

/// The user that `claims` name, while everything they name is there.
fn bound_user(snapshot: &Snapshot, claims: &Value) -> Option<User> {
    let bound = &claims["kubernetes.io"];
    let namespace = text(bound, "/namespace");
    let there =
        |resource: &str, namespace: &str, claim: &Value| -> Option<bool> {
            let name = claim.get("name")?.as_str()?;
            let object = snapshot.find(resource, namespace, name);
            Some(object.is_some_and(|object: &std::sync::Arc<Object>| {
                claim["uid"] == *object.metadata().uid
            }))
        };
    if there(SERVICE_ACCOUNTS, namespace, &bound["serviceaccount"]) != Some(true) {
        return None;
    }
    let mut extra = std::collections::BTreeMap::new();
    let note = |extra: &mut std::collections::BTreeMap<_, _>, key: &str, value: String| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    note(&mut extra, "credential-id", format!("JTI={}", text(claims, "/jti")));
    // A token bound to a pod names the pod's node too, and that may go before the pod does.
    let by_node = bound["pod"].is_null().then_some((NODES, "", "node"));
    let others = [(PODS, namespace, "pod"), (SECRETS, namespace, "secret")];
    for (resource, namespace, claim) in others.into_iter().chain(by_node) {
        if there(resource, namespace, &bound[claim]) == Some(false) {
            return None;
        }
    }
    for claim in ["pod", "node"] {
        if let Some(name) = bound[claim]["name"].as_str() {
            note(&mut extra, &format!("{claim}-name"), name.to_owned());
            note(&mut extra, &format!("{claim}-uid"), text(&bound[claim], "/uid").to_owned());
        }
    }
    let name = text(bound, "/serviceaccount/name");
    Some(User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: text(bound, "/serviceaccount/uid").to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        extra,
        is_engine: false,
    })
}
