//! Why objects are not where they should be: chains of reasons, for `coracle why`.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::resources::PODS;
use coracle_api::{Key, Kind, Object, Timestamp, print, unserved};
use coracle_controllers::{is_told_by_its_controller, outlook, shortfall};
use coracle_driver::{Reason, Reasons};
use coracle_node::Node;
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::{Value, json};

/// As many chains of reasons as one answer has.
const CHAINS_MAX: usize = 1000;

/// The parts of the engine that know reasons.
pub struct Explainer {
    api: Api,
    reasons: Reasons,
    node: Arc<Node>,
}

impl Explainer {
    /// Explains from these parts.
    pub fn new(api: Api, reasons: Reasons, node: Arc<Node>) -> Self {
        Self { api, reasons, node }
    }

    /// The chain of reasons of one object.
    ///
    /// # Errors
    /// A sentence, when there is no such object.
    pub fn why(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, String> {
        let kind = self.kind(resource)?;
        let key = key_of(&kind, namespace, name);
        let snapshot = self.api.snapshot();
        let Some(object) = snapshot.get(&key) else {
            return Err(missing(&snapshot, &kind, &key));
        };
        let mut links = self.links(&snapshot, object);
        let idle = unserved::sentences(&kind, object.value()).join("; ");
        // What nothing acts on may be why, whatever else it waits for.
        if !idle.is_empty() {
            links.insert(links.len().min(1), self.link(&key, &idle, None));
        }
        if links.is_empty() {
            let outlook = outlook(object, Timestamp::now());
            let sentence = outlook.unwrap_or_else(|| "it waits for nothing".to_owned());
            links.push(self.link(&key, &sentence, None));
        }
        Ok(Value::Array(links))
    }

    /// What was decided on one object, which may be gone, oldest first.
    ///
    /// # Errors
    /// A sentence, when there is no such kind.
    pub fn history(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, String> {
        let key = key_of(&*self.kind(resource)?, namespace, name);
        let entries = self.reasons.history(&key).map_err(|error| error.to_string())?;
        let shown = entries.iter().map(|entry| {
            json!({
                "time": entry.time.to_string(),
                "controller": entry.controller,
                "did": entry.did,
                "because": entry.because,
            })
        });
        Ok(shown.collect())
    }

    /// The chains of everything that waits, of one kind if one is named: each at its beginning only.
    ///
    /// # Errors
    /// A sentence, when there is no such kind.
    pub fn why_all(
        &self,
        resource: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<Value, String> {
        let kind = resource.map(|resource| self.kind(resource)).transpose()?;
        let resource = kind.map(|kind| kind.storage_resource());
        let snapshot = self.api.snapshot();
        let is_meant = |object: &&Arc<Object>| {
            namespace.is_none_or(|namespace| *object.key().namespace == *namespace)
                && resource.as_ref().is_none_or(|resource| *object.key().resource == **resource)
                && !is_told_by_its_controller(object)
        };
        let objects = snapshot.objects().filter(is_meant);
        let chains = objects.map(|object| self.reasons.why(&snapshot, object.key()));
        let chains: Vec<_> = chains.filter(|chain| !chain.is_empty()).take(CHAINS_MAX).collect();
        let links =
            chains.iter().flat_map(|chain| chain.iter().filter(|link| link.key != chain[0].key));
        let links: BTreeSet<&Key> = links.map(|link| &link.key).collect();
        let roots = chains.iter().filter(|chain| !links.contains(&chain[0].key));
        Ok(roots.map(|chain| Value::Array(self.shown(chain))).collect())
    }

    /// What the object waits for, what that waits for, and so on; or what it is short of by its own
    /// status. Nothing when it is where it should be.
    pub fn links(&self, snapshot: &Snapshot, object: &Object) -> Vec<Value> {
        let key = object.key();
        let links = self.shown(&self.with_last_words(snapshot, self.reasons.why(snapshot, key)));
        match shortfall(object).filter(|_| links.is_empty()) {
            Some(sentence) => vec![self.link(key, &sentence, None)],
            None => links,
        }
    }

    /// Adds to what the status of a pod says the last lines of its containers that failed.
    fn with_last_words(&self, snapshot: &Snapshot, mut chain: Vec<Reason>) -> Vec<Reason> {
        for reason in chain.iter_mut().filter(|reason| *reason.key.resource == *PODS) {
            let Some(pod) = snapshot.get(&reason.key) else { continue };
            for (container, line) in self.node.last_words(pod) {
                if reason.sentence.contains(&format!("container {container}")) {
                    reason.sentence.push_str(&format!("; its last line was {line:?}"));
                }
            }
        }
        chain
    }

    fn shown(&self, chain: &[Reason]) -> Vec<Value> {
        chain.iter().map(|link| self.link(&link.key, &link.sentence, link.since)).collect()
    }

    fn link(&self, key: &Key, sentence: &str, since: Option<Timestamp>) -> Value {
        let singular = match self.api.kinds().stored(&key.resource) {
            Some(kind) => kind.singular.to_string(),
            None => key.resource.to_string(),
        };
        link(&format!("{singular} {}", key.name), &key.namespace, sentence, since)
    }

    /// The kind of this group and name, whatever the version.
    pub fn kind_of(&self, group: &str, kind: &str) -> Option<Arc<Kind>> {
        let kinds = self.api.kinds();
        kinds.iter().find(|row| row.group == group && row.kind == kind).cloned()
    }

    /// What there is now.
    pub fn snapshot(&self) -> Snapshot {
        self.api.snapshot()
    }

    /// The kind that kubectl would take `name` for.
    fn kind(&self, name: &str) -> Result<Arc<Kind>, String> {
        let kinds = self.api.kinds();
        let found = kinds.iter().find(|kind| is_called(kind, name)).cloned();
        found
            .ok_or_else(|| format!("there is no kind called {name:?}: see `kubectl api-resources`"))
    }
}

/// One link of a chain, as it is answered: what waits, where it is, why, and since when.
pub fn link(object: &str, namespace: &str, sentence: &str, since: Option<Timestamp>) -> Value {
    json!({
        "object": object,
        "namespace": namespace,
        "because": sentence,
        "since": since.map(ago),
    })
}

/// Where an object of this kind is kept.
pub fn key_of(kind: &Kind, namespace: &str, name: &str) -> Key {
    let namespace = if kind.is_namespaced() { namespace } else { "" };
    Key::new(kind.storage_resource(), namespace, name)
}

/// That there is no object at `key`, and where there is one of its name.
fn missing(snapshot: &Snapshot, kind: &Kind, key: &Key) -> String {
    let place = match &*key.namespace {
        "" => String::new(),
        namespace => format!(" in {namespace}"),
    };
    let all = snapshot.list(&key.resource, None);
    let namesakes = all.filter(|object| object.key().name == key.name);
    let elsewhere: Vec<&str> = namesakes.map(|object| &*object.key().namespace).collect();
    let hint = match elsewhere.as_slice() {
        [] => String::new(),
        namespaces => format!(": there is one in {} (-n)", namespaces.join(", ")),
    };
    format!("there is no {} {:?}{place}{hint}", kind.singular, &*key.name)
}

/// Whether kubectl would take `name` for this kind: `sts`, `statefulset`, `statefulsets.apps`,
/// `statefulsets.v1.apps`…
fn is_called(kind: &Kind, name: &str) -> bool {
    let name = name.to_lowercase();
    let (word, rest) = name.split_once('.').unwrap_or((&name, ""));
    let is_word = kind.plural == word
        || kind.singular == word
        || kind.short_names.iter().any(|short| *short == word);
    let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
    is_word
        && (rest.is_empty()
            || kind.group == rest
            || (kind.group == group && kind.version == version))
}

/// `12s`, `3m20s`: how long ago that was.
fn ago(then: Timestamp) -> String {
    print::human(Timestamp::now().duration_since(then).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::kinds::Kinds;

    #[test]
    fn a_kind_is_called_as_kubectl_calls_it() {
        let kinds = Kinds::builtin();
        let called = |name: &str| {
            let found = kinds.iter().find(|kind| is_called(kind, name));
            found.map(|kind| kind.storage_resource())
        };
        for name in [
            "sts",
            "statefulset",
            "StatefulSets",
            "statefulsets.apps",
            "statefulset.apps",
            "sts.apps",
            "statefulsets.v1.apps",
        ] {
            assert_eq!(called(name).as_deref(), Some("statefulsets.apps"), "{name}");
        }
        for name in ["po", "pods", "pods.v1", "pods.v1."] {
            assert_eq!(called(name).as_deref(), Some("pods"), "{name}");
        }
        for name in ["hpa", "horizontalpodautoscalers.autoscaling"] {
            let called = called(name);
            assert_eq!(called.as_deref(), Some("horizontalpodautoscalers.autoscaling"), "{name}");
        }
        for name in ["", "statefulsets.batch", "statefulsets.v2.apps", "web"] {
            assert_eq!(called(name), None, "{name}");
        }
    }
}
