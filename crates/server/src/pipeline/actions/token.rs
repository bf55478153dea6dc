//! `serviceaccounts/token`: a token of the account, for as long as what it is bound to is there.

use coracle_api::kind::type_of;
use coracle_api::resources::{NODES, PODS, SECRETS};
use coracle_api::{FieldError, Key, Kind, Object, Status};
use coracle_store::{Expect, Snapshot};
use serde_json::{Value, json};

use crate::auth::tokens::ISSUER;
use crate::pipeline::admission;
use crate::pipeline::content;
use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::{existing, text};
use crate::pipeline::write::calls::{Call, Given, Stop};
use crate::pipeline::write::{Prepared, WriteEnv};

const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";
/// Where an audit log has which token was given away.
const ISSUED_CREDENTIAL: &str = "authentication.kubernetes.io/issued-credential-id";
/// What a client gets who does not say how long.
const LIFETIME_SECONDS: i64 = 3600;
const LIFETIME_MIN: i64 = 600;
const LIFETIME_MAX: i64 = 1 << 32;

/// Carries a TokenRequest out. Nothing is written, but what the token rests on must still be there
/// when it is given away.
///
/// # Errors
/// 404 without the account, 409 and 422 for a request that does not fit.
pub(crate) fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let body = content::other(request, TOKEN_REQUEST)?;
    check_name(request, &body)?;
    let account = existing(snapshot, request)?;
    let (mut body, warnings) = admission::act(snapshot, request, body, TOKEN_REQUEST, env)?;
    let errors = errors(&body["spec"]);
    if !errors.is_empty() {
        return Err(Status::invalid(&token_request(request), "", &errors).into());
    }
    let lifetime = body["spec"]["expirationSeconds"].as_i64().unwrap_or(LIFETIME_SECONDS);
    let audiences = match &body["spec"]["audiences"] {
        Value::Array(all) if !all.is_empty() => all.clone(),
        _ => vec![ISSUER.into()],
    };
    let end = coracle_api::time::after(env.now, lifetime);
    let key = account.key();
    let mut bound = json!({
        "namespace": *key.namespace,
        "serviceaccount": {"name": *key.name, "uid": account.metadata().uid},
    });
    let rests_on = bind(snapshot, request, &body["spec"]["boundObjectRef"], &mut bound)?;
    let claims = json!({
        "aud": audiences,
        "exp": end.as_second(),
        "iat": env.now.as_second(),
        "iss": ISSUER,
        "jti": env.entropy.uid(),
        "kubernetes.io": bound,
        "nbf": env.now.as_second(),
        "sub": format!("system:serviceaccount:{}:{}", key.namespace, key.name),
    });
    let Given::Token(token) = env.ask(Call::Sign { claims: claims.to_string() })? else {
        return Err(Status::internal("an answer to another question").into());
    };
    if request.options.is_audited {
        let id = format!("JTI={}", text(&claims, "/jti"));
        env.remember([(ISSUED_CREDENTIAL.to_owned(), id)].into());
    }
    body["kind"] = "TokenRequest".into();
    body["apiVersion"] = "authentication.k8s.io/v1".into();
    body["metadata"] = json!({
        "name": *key.name,
        "namespace": *key.namespace,
        "creationTimestamp": rfc3339(env.now),
    });
    body["spec"]["audiences"] = audiences.into();
    body["spec"]["expirationSeconds"] = lifetime.into();
    body["status"] = json!({"token": token, "expirationTimestamp": rfc3339(end)});
    let mut prepared = Prepared::answered(Reply::created(Answer::Value(body)));
    prepared.requires = [unchanged(account)].into_iter().chain(rests_on).collect();
    prepared.warnings = warnings;
    Ok(prepared)
}

fn unchanged(object: &Object) -> (Key, Expect) {
    (object.key().clone(), Expect::Revision(object.revision()))
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
) -> Result<Option<(Key, Expect)>, Status> {
    if reference.is_null() {
        return Ok(None);
    }
    let (kind, name) = (text(reference, "/kind"), text(reference, "/name"));
    let (resource, namespace, claim) = match kind {
        "Pod" => (PODS, request.namespace.as_str(), "pod"),
        "Secret" => (SECRETS, request.namespace.as_str(), "secret"),
        "Node" => (NODES, "", "node"),
        _ => {
            let message = format!("cannot bind token to object of type {}", type_of(reference));
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
    Ok(Some(unchanged(object)))
}
