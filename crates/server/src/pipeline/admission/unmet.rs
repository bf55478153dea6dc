//! What the node cannot do yet: refused when it was the whole purpose of the request, and said with the
//! answer when it is a detail.

use coracle_api::resources::PODS;
use coracle_api::{Status, Subresource};
use serde_json::Value;

use crate::pipeline::admission::pod_security::pod_of;
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;

/// A resize that would change something: control groups stay as they are until the pod is made again.
pub(super) fn refuse_resize(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let is_resize = attributes.operation == Operation::Update
        && attributes.request.kind.group_resource() == PODS
        && attributes.request.subresource == Some(Subresource::Resize);
    let changes = |old: &coracle_api::Object| old.value()["spec"] != value["spec"];
    if !is_resize || !attributes.old.is_some_and(changes) {
        return Ok(());
    }
    let why = "coracle does not resize running pods yet: change the template of what owns the pod, \
               so that it is made again with the new resources";
    Err(attributes.forbidden(text(value, "/metadata/name"), why))
}

/// Limits that are counted and not enforced.
pub(super) fn warn(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update)
        && attributes.request.subresource.is_none();
    let Some(pod) = pod_of(attributes, value).filter(|_| is_write) else { return Ok(()) };
    attributes.warnings.extend(unenforced(pod.spec));
    Ok(())
}

fn unenforced(spec: &Value) -> Option<String> {
    let limited = |list: &'static str| {
        let containers = spec[list].as_array().into_iter().flatten().enumerate();
        let limited = containers.filter(|(_, container)| {
            !container["resources"]["limits"]["ephemeral-storage"].is_null()
        });
        limited.map(move |(index, _)| format!("{list}[{index}]"))
    };
    let of_pod = &spec["resources"]["limits"]["ephemeral-storage"];
    let of_pod = (!of_pod.is_null()).then(|| "the pod".to_owned()).into_iter();
    let all: Vec<String> =
        of_pod.chain(["initContainers", "containers"].into_iter().flat_map(limited)).collect();
    (!all.is_empty()).then(|| {
        format!(
            "limits of ephemeral-storage are counted by quotas and not enforced yet: nothing stops {} \
             from writing more",
            all.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_that_nothing_enforces_are_named() {
        let limit = || json!({"resources": {"limits": {"ephemeral-storage": "1Gi", "cpu": "1"}}});
        let spec = json!({"initContainers": [limit()], "containers": [{}, limit()]});
        let text = unenforced(&spec).unwrap();
        assert!(text.contains("stops initContainers[0], containers[1] from"), "{text}");
        let plain = json!({"containers": [{"resources": {"limits": {"cpu": "1"}}}]});
        assert_eq!(unenforced(&plain), None);
    }
}
