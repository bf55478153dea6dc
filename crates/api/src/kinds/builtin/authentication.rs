//! authentication.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::resources::{SELF_SUBJECT_REVIEWS, TOKEN_REVIEWS};

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.authentication.v1", [self_subject_reviews(), token_reviews()])
}

fn self_subject_reviews() -> Kind {
    cluster("SelfSubjectReview", SELF_SUBJECT_REVIEWS).review()
}

fn token_reviews() -> Kind {
    cluster("TokenReview", TOKEN_REVIEWS).review()
}
