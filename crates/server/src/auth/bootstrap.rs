//! The roles that a cluster has from its first second: without them nobody but masters may do
//! anything, and nobody could be let in.

use std::sync::Arc;

use coracle_api::{Status, Verb};
use serde_json::Value;

use crate::auth::roles;
use crate::{Api, Body, Options, Request, User};

/// With `false`, a role or binding is left as it is.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Makes those that are missing and completes the others, in one transaction.
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
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name").to_owned());
        let namespace = namespace.to_owned();
        let stored = snapshot.find(&kind.storage_resource(), &namespace, &name);
        let (verb, name, object) = match stored.map(|stored| reconciled(stored.value(), &object)) {
            None => (Verb::Create, String::new(), object),
            Some(Some(changed)) => (Verb::Update, name, changed),
            Some(None) => continue,
        };
        requests.push(Request {
            user: User::system("system:apiserver"),
            verb,
            kind: Arc::clone(kind),
            namespace,
            name,
            subresource: None,
            options: Options { field_manager: "kube-apiserver".into(), ..Options::default() },
            body: Body::Object(object),
        });
    }
    api.transact(requests, Vec::new()).await?;
    Ok(())
}

/// The stored role or binding with all that the default one has and it lacks; `None` when it lacks
/// nothing, or is not to be touched. What somebody added stays, as upstream.
fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut value = stored.clone();
    for field in ["labels", "annotations"] {
        for (name, text) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if value["metadata"][field][name].is_null() {
                value["metadata"][field][name] = text.clone();
            }
        }
    }
    // Rules that are made of other roles' are the aggregation's to write.
    let lists: &[&str] = match wanted["aggregationRule"].is_null() {
        true => &["rules", "subjects"],
        false => &[],
    };
    for field in lists {
        let have = value[*field].as_array().cloned().unwrap_or_default();
        let wanted = wanted[*field].as_array().into_iter().flatten();
        let missing: Vec<_> = wanted.filter(|one| !have.contains(one)).cloned().collect();
        if !missing.is_empty() {
            value[*field] = have.into_iter().chain(missing).collect();
        }
    }
    (value != *stored).then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_default_role_gets_back_what_it_lacks_and_keeps_what_was_added() {
        let rule = |verb: &str| json!({"verbs": [verb]});
        let wanted =
            json!({"metadata": {"labels": {"l": "x"}}, "rules": [rule("get"), rule("list")]});
        let stored = json!({"metadata": {}, "rules": [rule("watch"), rule("get")]});
        let both = reconciled(&stored, &wanted).unwrap();
        assert_eq!(both["rules"], json!([rule("watch"), rule("get"), rule("list")]));
        assert_eq!(both["metadata"]["labels"]["l"], "x");
        assert_eq!(reconciled(&both, &wanted), None);
        let kept = json!({"metadata": {"annotations": {AUTOUPDATE: "false"}}, "rules": []});
        assert_eq!(reconciled(&kept, &wanted), None);
    }
}
