//! Which templates of pods have proved themselves on this node.
//!
//! A container without a readiness probe is Ready when it has lived for a second. Once one of a
//! template has, those that run beside it and the next ones are believed at once, until one of them
//! fails. (Nobody waits for a pod without a controller to go on with others: its worker believes it as
//! on a stock cluster.)

use std::collections::BTreeSet;

use coracle_api::Index;
use coracle_api::resources::PODS;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

/// Templates remembered at most; beyond that all begin anew, which costs each a second.
const REMEMBERED: usize = 4096;

/// A container of an owner's revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    /// UID of the controller, or of the pod itself: who has no revisions has no templates.
    owner: String,
    revision: String,
    container: String,
}

impl Template {
    /// What a container of `pod` is made from.
    #[must_use]
    pub fn of(pod: &Pod, container: &str) -> Self {
        let meta = &pod.metadata;
        let labels = meta.labels.as_ref();
        let revision = ["controller-revision-hash", "pod-template-hash"]
            .into_iter()
            .find_map(|label| labels?.get(label));
        let mut owners = meta.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true)).map(|owner| &owner.uid);
        let owner = owner.filter(|_| revision.is_some()).or(meta.uid.as_ref());
        Self {
            owner: owner.cloned().unwrap_or_default(),
            revision: revision.cloned().unwrap_or_default(),
            container: container.to_owned(),
        }
    }

    /// The container's name.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// UIDs of the pods of its owner, of whatever revision; none where pods have no revisions.
    #[must_use]
    pub fn pods(&self, snapshot: &Snapshot) -> Vec<String> {
        if self.revision.is_empty() {
            return Vec::new();
        }
        let pods = snapshot.indexed(Index::Owner, &self.owner, PODS, None);
        pods.map(|pod| pod.metadata().uid.clone()).collect()
    }
}

/// The templates of a node.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    proved: BTreeSet<Template>,
}

impl Templates {
    /// A container made from it has lived long enough. Whether none had before, since the last
    /// failure: then those that run are to be told.
    pub fn lived(&mut self, template: Template) -> bool {
        if self.proved.len() >= REMEMBERED {
            self.proved.clear();
        }
        self.proved.insert(template)
    }

    /// One made from it has failed.
    pub fn failed(&mut self, template: &Template) {
        self.proved.remove(template);
    }

    /// Whether one has lived long enough, and none failed since.
    #[must_use]
    pub fn has_proved(&self, template: &Template) -> bool {
        self.proved.contains(template)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{Template, Templates};

    fn pod(uid: &str, owner: Option<&str>, revision: Option<&str>) -> Pod {
        let owners = owner.map(|uid| {
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": uid,
                    "controller": true}])
        });
        let labels = revision.map(|it| json!({"controller-revision-hash": it}));
        let metadata = json!({"uid": uid, "ownerReferences": owners, "labels": labels});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn pods_of_one_revision_share_their_template() {
        let template = |uid, revision| Template::of(&pod(uid, Some("s"), Some(revision)), "c");
        assert_eq!(template("a", "1"), template("b", "1"));
        assert_ne!(template("a", "1"), template("b", "2"));
        assert_ne!(template("a", "1"), Template::of(&pod("a", Some("s"), Some("1")), "d"));
    }

    #[test]
    fn a_pod_without_revision_has_only_its_own() {
        let of = |uid, owner| Template::of(&pod(uid, owner, None), "c");
        assert_ne!(of("a", Some("j")), of("b", Some("j")));
        assert_eq!(of("a", Some("j")), of("a", Some("j")));
        assert_ne!(of("a", None), of("b", None));
    }

    #[test]
    fn a_failure_takes_what_was_proved() {
        let template = Template::of(&pod("a", Some("s"), Some("1")), "c");
        let mut templates = Templates::default();
        assert!(!templates.has_proved(&template));
        assert!(templates.lived(template.clone()));
        assert!(!templates.lived(template.clone()), "who runs was told already");
        assert!(templates.has_proved(&template));
        templates.failed(&template);
        assert!(!templates.has_proved(&template));
    }
}
