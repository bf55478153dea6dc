//! Service account tokens: JSON web tokens, signed with ES256 by a key of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coracle_api::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use coracle_api::{Object, Status, Timestamp};
use coracle_store::Snapshot;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::auth::AUTHENTICATED;
use crate::pipeline::outside::Outside;
use crate::pipeline::request::User;
use crate::pipeline::verbs::text;
use crate::pipeline::write::calls::{Call, Given};

/// Who issues the tokens, and whom they are meant for when nobody says.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Who issues the tokens of Secrets; they are for the API alone.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

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

    /// A token that says `claims`, which are JSON.
    fn sign(&self, claims: &str) -> Result<String, Status> {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
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
        if claims["iss"] == LEGACY_ISSUER {
            let fitting: Vec<String> =
                audiences.iter().filter(|wanted| *wanted == ISSUER).cloned().collect();
            if fitting.is_empty() {
                return Err(TokenError::Audience);
            }
            let user = secret_user(snapshot, &claims, token).ok_or(TokenError::Invalidated)?;
            return Ok((user, fitting));
        }
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
}

#[async_trait]
impl Outside for Tokens {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        match call {
            Call::Sign { claims } => self.sign(claims).map(Given::Token),
            Call::Measure => Ok(Given::Usage(Arc::default())),
            Call::Certify { .. }
            | Call::Review { .. }
            | Call::Post(_)
            | Call::Fetch(_)
            | Call::Sweep { .. }
            | Call::All(_) => Err(Status::internal("whoever signs tokens does nothing else")),
        }
    }
}

/// The user of a Secret's token, while the Secret and the account are there: the token must be the
/// one that the Secret holds.
fn secret_user(snapshot: &Snapshot, claims: &Value, token: &str) -> Option<User> {
    let claim = |name: &str| claims[format!("kubernetes.io/serviceaccount/{name}")].as_str();
    let (namespace, name) = (claim("namespace")?, claim("service-account.name")?);
    let account = snapshot.find(SERVICE_ACCOUNTS, namespace, name)?;
    let secret = snapshot.find(SECRETS, namespace, claim("secret.name")?)?;
    let is_whole = account.metadata().uid == claim("service-account.uid")?
        && !secret.metadata().is_deleting()
        && secret.str_at("/data/token") == Some(STANDARD.encode(token).as_str());
    is_whole.then(|| user_of(namespace, name, &account.metadata().uid, BTreeMap::new()))
}

fn user_of(namespace: &str, name: &str, uid: &str, extra: BTreeMap<String, Vec<String>>) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        extra,
        is_engine: false,
    }
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
    let mut extra = BTreeMap::new();
    let note = |extra: &mut BTreeMap<_, _>, key: &str, value: String| {
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
    let account = |field: &str| text(&bound["serviceaccount"], field);
    Some(user_of(namespace, account("/name"), account("/uid"), extra))
}
