//! The roles that a cluster has from its first second: without them nobody but masters may do
//! anything, and nobody could be let in.

use std::sync::Arc;

use coracle_api::{Status, Verb};
use serde_json::Value;

use crate::auth::roles;
use crate::{Api, Body, Options, Request, User};

/// Makes those that are missing, in one transaction.
///
/// # Errors
/// What the pipeline says of one of them.
pub async fn bootstrap(api: &Api) -> Result<(), Status> {
    let (snapshot, kinds) = (api.snapshot(), api.kinds());
    let mut requests = Vec::new();
    for object in roles::all() {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let kind = kinds
            .of_object(text("/apiVersion"), text("/kind"))
            .ok_or_else(|| Status::internal(format!("there is no kind {}", text("/kind"))))?;
        if snapshot.find(&kind.storage_resource(), "", text("/metadata/name")).is_some() {
            continue;
        }
        requests.push(Request {
            user: User::system("system:apiserver"),
            verb: Verb::Create,
            kind: Arc::clone(kind),
            namespace: String::new(),
            name: String::new(),
            subresource: None,
            options: Options { field_manager: "kube-apiserver".into(), ..Options::default() },
            body: Body::Object(object),
        });
    }
    api.transact(requests, Vec::new()).await?;
    Ok(())
}
