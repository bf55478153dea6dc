//! Why an image that somebody has is not the one that a pod gets.

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, SECRETS};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Container, Pod};

/// What to do about an image that cannot be had: an explanation after the node's own words.
pub(super) fn advice(snapshot: &Snapshot, pod: &Pod, container: &Container) -> Option<String> {
    let image = container.image.as_deref().unwrap_or_default();
    if let Some(secret) = missing_secret(snapshot, pod) {
        return Some(format!("the pull secret {secret:?} does not exist"));
    }
    let there = images(snapshot, pod.node_name()?);
    if there.iter().any(|name| is_same(name, image)) {
        let is_always = container.image_pull_policy.as_deref() == Some("Always");
        return is_always.then(|| {
            "the node has this image, but imagePullPolicy is Always (the default for the tag \
             latest): set IfNotPresent to use it"
                .to_owned()
        });
    }
    let alike = there.iter().find(|name| repository(name) == repository(image))?;
    Some(format!("the node has {alike}: is the tag another one?"))
}

fn missing_secret<'a>(snapshot: &Snapshot, pod: &'a Pod) -> Option<&'a str> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let secrets = pod.spec.as_ref()?.image_pull_secrets.as_ref()?;
    let mut names = secrets.iter().map(|secret| secret.name.as_str());
    names.find(|name| snapshot.find(SECRETS, namespace, name).is_none())
}

/// The images of a node, by the names that its status has.
fn images(snapshot: &Snapshot, node: &str) -> Vec<String> {
    let list = |node: &Object| node.value().pointer("/status/images").cloned();
    let images = snapshot.find(NODES, "", node).and_then(|node| list(node));
    let images = images.as_ref().and_then(|images| images.as_array()).into_iter().flatten();
    let names = images.filter_map(|image| image["names"].as_array()).flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Whether two names mean one image: registry and tag have defaults.
fn is_same(a: &str, b: &str) -> bool {
    whole(a) == whole(b)
}

fn whole(name: &str) -> String {
    let tag = &name[repository_end(name)..];
    format!("{}{}", repository(name), if tag.is_empty() { ":latest" } else { tag })
}

/// `redis` of `docker.io/library/redis:7`.
fn repository(name: &str) -> &str {
    let name = &name[..repository_end(name)];
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Where tag or digest begin.
fn repository_end(name: &str) -> usize {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    name[last..].find([':', '@']).map_or(name.len(), |at| last + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_defaults_are_the_same_name() {
        assert!(is_same("docker.io/library/redis:7", "redis:7"));
        assert!(is_same("redis", "docker.io/library/redis:latest"));
        assert!(!is_same("redis:7", "redis:8"));
        assert!(!is_same("localhost:5000/redis:7", "redis:7"));
        assert_eq!(repository("localhost:5000/a/redis:7"), "localhost:5000/a/redis");
        assert_eq!(repository("redis@sha256:00"), "redis");
    }
}
