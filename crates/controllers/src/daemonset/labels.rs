//! Labels and annotations that say of which template a pod is.

/// The name of the template that a pod was made from.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";
/// The number of the template that a pod was made from, in the way of before there were revisions.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";
/// That number, on the set.
pub(super) const GENERATION: &str = "deprecated.daemonset.template.generation";
/// How many pods before this one failed on its node, one after the other.
pub(super) const FAILURES: &str = "daemonset.coracle.dev/failures-before";
