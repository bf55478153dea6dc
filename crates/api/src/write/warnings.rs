//! Sentences for who writes an object that is accepted: what of its pods is deprecated or hardly
//! meant (upstream's `pkg/api/pod/warnings.go`), and what of it nothing acts on.

use serde_json::Value;

use super::unserved;
use crate::resources::NETWORK_POLICIES;
use crate::{Kind, Quantity};

/// How many ranges of ports, and how many selectors of pods, a rule of a NetworkPolicy may have; what
/// is beyond allows nothing.
pub const POLICY_RULE_MAX: usize = 1024;

/// Labels of nodes that have new names: since when, and which.
const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
/// Resources that are counted in whole bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// What to tell of a write of `new` over `old`, which is null when it is new.
#[must_use]
pub fn of(kind: &Kind, new: &Value, old: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_idle = unserved::of_kind(kind).is_some();
    if is_idle && old.is_null() {
        warnings.extend(unserved::sentences(kind, new));
    }
    if kind.is(NETWORK_POLICIES) && old["spec"] != new["spec"] {
        network_policy(&new["spec"], &mut warnings);
    }
    let Some((pointer, path)) = unserved::pod_spec(kind) else {
        if !is_idle && new["webhooks"] != old["webhooks"] {
            warnings.extend(unserved::sentences(kind, new));
        }
        return warnings;
    };
    let spec = new.pointer(pointer).unwrap_or(&Value::Null);
    if old.pointer(pointer) == Some(spec) {
        return warnings;
    }
    scheduling(spec, path, &mut warnings);
    repeated(spec, path, &mut warnings);
    for list in ["initContainers", "containers"] {
        for (index, container) in items(&spec[list]) {
            in_container(container, &format!("{path}.{list}[{index}]"), &mut warnings);
        }
    }
    volumes(spec, path, &mut warnings);
    let grace = &spec["terminationGracePeriodSeconds"];
    if grace.as_i64().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
    if !is_idle {
        warnings.extend(unserved::sentences(kind, new));
    }
    warnings
}

fn items(list: &Value) -> impl Iterator<Item = (usize, &Value)> {
    list.as_array().into_iter().flatten().enumerate()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn renamed(label: &str) -> Option<String> {
    let (_, since, new) = OLD_LABELS.into_iter().find(|(old, _, _)| *old == label)?;
    Some(format!("deprecated since {since}; use {new:?} instead"))
}

fn scheduling(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for name in spec["nodeSelector"].as_object().into_iter().flat_map(|labels| labels.keys()) {
        let told = renamed(name).map(|why| format!("{path}.nodeSelector[{name}]: {why}"));
        warnings.extend(told);
    }
    let node = &spec["affinity"]["nodeAffinity"];
    let at = format!("{path}.affinity.nodeAffinity");
    let required = &node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    for (index, term) in items(required) {
        let list = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
        term_keys(term, &format!("{at}.{list}[{index}]"), warnings);
    }
    let list = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in items(&node[list]) {
        term_keys(&term["preference"], &format!("{at}.{list}[{index}].preference"), warnings);
    }
    for (index, constraint) in items(&spec["topologySpreadConstraints"]) {
        let key = text(constraint, "topologyKey");
        if let Some(why) = renamed(key) {
            let at = format!("{path}.topologySpreadConstraints[{index}].topologyKey");
            warnings.push(format!("{at}: {key} is {why}"));
        }
    }
}

fn term_keys(term: &Value, path: &str, warnings: &mut Vec<String>) {
    for (index, expression) in items(&term["matchExpressions"]) {
        let key = text(expression, "key");
        if let Some(why) = renamed(key) {
            warnings.push(format!("{path}.matchExpressions[{index}].key: {key} is {why}"));
        }
    }
}

/// Entries of lists that are there twice.
fn repeated(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen: Vec<&str> = Vec::new();
        for (index, entry) in items(&spec[list]) {
            let value = text(entry, field);
            let at = format!("{path}.{list}[{index}].{field}");
            if field == "name" && value.is_empty() {
                warnings.push(format!("{at}: invalid empty name {value:?}"));
            } else if seen.contains(&value) {
                warnings.push(format!("{at}: duplicate {field} {value:?}"));
            }
            seen.push(value);
        }
    }
}

fn in_container(container: &Value, path: &str, warnings: &mut Vec<String>) {
    for list in ["limits", "requests"] {
        for name in BYTES {
            let amount = &container["resources"][list][name];
            fraction(amount, &format!("{path}.resources.{list}[{name}]"), warnings);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, variable) in items(&container["env"]) {
        let name = text(variable, "name");
        // A value that refers to the one before adds to it.
        let refers = text(variable, "value").contains(&format!("$({name})"));
        if names.contains(&name) && !refers {
            let why = "which may be dropped when using apply";
            let at = format!("{path}.env[{index}]");
            warnings.push(format!("{at}: hides previous definition of {name:?}, {why}"));
        }
        names.push(name);
    }
    ports(container, path, warnings);
}

fn ports(container: &Value, path: &str, warnings: &mut Vec<String>) {
    let same = |a: &Value, b: &Value| {
        let protocol = |port: &Value| match text(port, "protocol") {
            "" => "TCP".to_string(),
            other => other.to_string(),
        };
        let fields = ["containerPort", "hostPort", "hostIP"];
        protocol(a) == protocol(b) && fields.iter().all(|field| a[field] == b[field])
    };
    let mut seen: Vec<(usize, &Value)> = Vec::new();
    for (index, port) in items(&container["ports"]) {
        if let Some((first, _)) = seen.iter().find(|(_, other)| same(port, other)) {
            let (at, other) = (format!("{path}.ports[{index}]"), format!("{path}.ports[{first}]"));
            warnings.push(format!("{at}: duplicate port definition with {other}"));
        }
        seen.push((index, port));
    }
}

fn volumes(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (index, volume) in items(&spec["volumes"]) {
        let at = format!("{path}.volumes[{index}]");
        fraction(&volume["emptyDir"]["sizeLimit"], &format!("{at}.emptyDir.sizeLimit"), warnings);
        if volume["gitRepo"].is_object() {
            warnings.push(format!("{at}.gitRepo: deprecated in v1.11"));
        }
    }
}

/// What of a NetworkPolicy allows nothing though it is valid.
fn network_policy(spec: &Value, warnings: &mut Vec<String>) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in items(&spec[direction]) {
            let at = format!("spec.{direction}[{index}]");
            let pods = items(&rule[peers]).filter(|(_, peer)| !peer["ipBlock"].is_object());
            for (field, count, what) in [
                ("ports", items(&rule["ports"]).count(), "ranges of ports"),
                (peers, pods.count(), "selectors"),
            ] {
                if count > POLICY_RULE_MAX {
                    let why =
                        format!("of more than {POLICY_RULE_MAX} {what} the last allow nothing");
                    warnings.push(format!("{at}.{field}: {why}"));
                }
            }
            for (index, peer) in items(&rule[peers]) {
                let block = &peer["ipBlock"];
                let mut cidrs =
                    items(&block["except"]).map(|(_, part)| part).chain([&block["cidr"]]);
                if cidrs.any(|cidr| cidr.as_str().is_some_and(|cidr| cidr.contains(':'))) {
                    let why = "no pod has an IPv6 address: this allows nothing";
                    warnings.push(format!("{at}.{peers}[{index}].ipBlock: {why}"));
                }
            }
        }
    }
}

fn fraction(amount: &Value, path: &str, warnings: &mut Vec<String>) {
    let Ok(quantity) = Quantity::from_json(amount) else { return };
    if quantity.milli_value() % 1000 != 0 {
        let shown = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        let why = "is invalid, must be an integer";
        warnings.push(format!("{path}: fractional byte value {shown:?} {why}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Kinds;

    fn warned(api_version: &str, kind: &str, object: &Value) -> Vec<String> {
        let kinds = Kinds::builtin();
        of(kinds.of_object(api_version, kind).unwrap(), object, &Value::Null)
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        let pod = json!({"spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
            "containers": [{"name": "c",
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"},
                    {"name": "A", "value": "$(A)3"}],
                "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"memory": "100m", "cpu": "100m"}}}]}});
        assert_eq!(
            warned("v1", "Pod", &pod),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.imagePullSecrets[1].name: duplicate name \"a\"",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ]
        );
    }

    #[test]
    fn what_nothing_acts_on_says_so() {
        let claims = json!({"spec": {"template": {"spec": {
            "containers": [{}], "resourceClaims": [{"name": "v"}]}}}});
        assert_eq!(
            warned("apps/v1", "StatefulSet", &claims),
            [
                "spec.template.spec.resourceClaims: coracle does not act on this yet: no device is allocated"
            ]
        );
        assert_eq!(
            warned("networking.k8s.io/v1", "Ingress", &json!({})),
            [
                "coracle does not act on objects of kind Ingress yet: no requests are routed; use a Service"
            ]
        );
        let block = json!({"ipBlock": {"cidr": "2001:db8::/32"}});
        let policy = json!({"spec": {"egress": [{}, {"to": [{"podSelector": {}}, block]}]}});
        assert_eq!(
            warned("networking.k8s.io/v1", "NetworkPolicy", &policy),
            ["spec.egress[1].to[1].ipBlock: no pod has an IPv6 address: this allows nothing"]
        );
        let (port, pods) = (json!({"port": 80}), json!({"podSelector": {}}));
        let large = json!({"ports": vec![port; 1025], "from": vec![pods; 1025]});
        assert_eq!(
            warned("networking.k8s.io/v1", "NetworkPolicy", &json!({"spec": {"ingress": [large]}})),
            [
                "spec.ingress[0].ports: of more than 1024 ranges of ports the last allow nothing",
                "spec.ingress[0].from: of more than 1024 selectors the last allow nothing",
            ]
        );
        let kinds = Kinds::builtin();
        let sets = kinds.of_object("apps/v1", "StatefulSet").unwrap();
        assert_eq!(of(sets, &claims, &claims), [""; 0], "an unchanged template is not told again");
    }
}
