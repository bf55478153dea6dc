//! Changes of a part of a pod: its status, and its ephemeral containers.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts;
use crate::{FieldError, names, semantic};

/// A change of a pod's status.
pub fn pod_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let status = |object| Field::root(object).child("status");
        let (status, old) = (status(new), status(old));
        let nominated = status.child("nominatedNodeName");
        if !nominated.is_empty() {
            parts::dns_subdomain(errors, &nominated);
        }
        addresses(errors, &status);
        let class = status.child("qosClass");
        if !class.is_empty() && !old.child("qosClass").is_empty() {
            parts::immutable(errors, &class, &old.child("qosClass"));
        }
        let generation = status.child("observedGeneration");
        if generation.int() < 0 {
            errors.invalid(&generation, "must be greater than or equal to 0");
        }
        for condition in status.child("conditions").items() {
            // Upstream's path has the name that Go gives the field.
            let kind = condition.child("type");
            let kind = Field { path: format!("{}.Type", condition.path), ..kind };
            parts::label_name(errors, &kind);
            if condition.child("observedGeneration").int() < 0 {
                let generation = condition.child("observedGeneration");
                errors.invalid(&generation, "must be greater than or equal to 0");
            }
        }
    })
}

/// `podIP` is the first of `podIPs`; each is an address, and there is one of a family.
fn addresses(errors: &mut Errors, status: &Field<'_>) {
    let (one, many) = (status.child("podIP"), status.child("podIPs"));
    let mut all: Vec<Field<'_>> = many.items().map(|entry| entry.child("ip")).collect();
    if all.is_empty() && !one.is_empty() {
        all.push(one);
    }
    for (index, ip) in all.iter().enumerate() {
        let place = Field { path: format!("{}[{index}]", many.path), ..ip.clone() };
        errors.all_invalid(&place, names::ip_address(ip.text()));
    }
}

/// The annotation by which a node shows the API what it runs without it.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// A change of a pod's ephemeral containers, on top of [`super::pod`]: more of them.
pub fn pod_debugged(new: &Value, old: &Value) -> Vec<FieldError> {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
    }
    Errors::of(|errors| {
        let of = |pod| Field::root(pod).descend(&["spec", "ephemeralContainers"]);
        let list = of(new);
        for old in of(old).items() {
            let name = old.child("name");
            let found = list.items().find(|one| one.child("name").text() == name.text());
            let told = |end: String| {
                format!("existing ephemeral containers {:?} may not be {end}", name.text())
            };
            match found {
                None => errors.forbidden(&list, told("removed\n".to_owned())),
                Some(new) if !semantic::equal(new.value, old.value) => {
                    let shown = parts::differences(old.value, new.value);
                    errors.forbidden(&list, told(format!("changed\n{shown}")));
                }
                Some(_) => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ephemeral_containers_are_added_and_nothing_else() {
        let pod = |list: Value| json!({"metadata": {}, "spec": {"ephemeralContainers": list}});
        let told = |new: Value, old: Value| -> Vec<String> {
            pod_debugged(&pod(new), &pod(old)).iter().map(ToString::to_string).collect()
        };
        let (a, b) = (json!({"name": "a", "image": "i"}), json!({"name": "b", "image": "i"}));
        assert_eq!(told(json!([a, b]), json!([a])), [""; 0]);
        assert_eq!(
            told(json!([b]), json!([a])),
            [
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be removed\n"
            ]
        );
        assert_eq!(
            told(json!([{"name": "a", "image": "j"}]), json!([a])),
            [
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be changed\n- image: \"i\"\n+ image: \"j\""
            ]
        );
        let mut mirror = pod(json!([a]));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert_eq!(
            pod_debugged(&mirror, &mirror)[0].to_string(),
            ": Forbidden: static pods do not support ephemeral containers"
        );
    }
}
