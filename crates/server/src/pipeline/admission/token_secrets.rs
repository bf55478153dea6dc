//! The token of a Secret that asks for one, signed when the account that it names is known.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::{SECRETS, SERVICE_ACCOUNTS};
use coracle_api::{Status, token_secrets};
use serde_json::{Value, json};

use crate::auth::tokens::LEGACY_ISSUER;
use crate::pipeline::admission::Attributes;
use crate::pipeline::verbs::{map_at, text};
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::{Call, Given, Stop};

/// Fills in the token where there is none. It has no end but that of the Secret and the account.
pub(super) fn sign(
    attributes: &mut Attributes<'_>,
    secret: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Stop> {
    if !attributes.puts(SECRETS) {
        return Ok(());
    }
    let Some((name, uid)) = token_secrets::account(secret) else { return Ok(()) };
    let namespace = attributes.request.namespace.as_str();
    let account = attributes.snapshot.find(SERVICE_ACCOUNTS, namespace, name);
    let is_known = account.is_some_and(|account| account.metadata().uid == uid);
    if !is_known || !text(secret, "/data/token").is_empty() {
        return Ok(());
    }
    let claims = json!({
        "iss": LEGACY_ISSUER,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": text(secret, "/metadata/name"),
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": uid,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    });
    let Given::Token(token) = env.ask(Call::Sign { claims: claims.to_string() })? else {
        return Err(Status::internal("an answer to another question").into());
    };
    map_at(secret, "data").insert("token".to_owned(), STANDARD.encode(token).into());
    Ok(())
}
