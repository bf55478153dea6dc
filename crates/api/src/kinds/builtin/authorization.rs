//! authorization.k8s.io/v1.

use super::row::{Row as _, cluster, namespaced, version};
use crate::kind::Kind;
use crate::resources::{
    LOCAL_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
};

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.authorization.v1",
        [
            local_subject_access_reviews(),
            self_subject_access_reviews(),
            self_subject_rules_reviews(),
            subject_access_reviews(),
        ],
    )
}

fn local_subject_access_reviews() -> Kind {
    namespaced("LocalSubjectAccessReview", LOCAL_SUBJECT_ACCESS_REVIEWS).review()
}

fn self_subject_access_reviews() -> Kind {
    cluster("SelfSubjectAccessReview", SELF_SUBJECT_ACCESS_REVIEWS).review()
}

fn self_subject_rules_reviews() -> Kind {
    cluster("SelfSubjectRulesReview", SELF_SUBJECT_RULES_REVIEWS).review()
}

fn subject_access_reviews() -> Kind {
    cluster("SubjectAccessReview", SUBJECT_ACCESS_REVIEWS).review()
}
