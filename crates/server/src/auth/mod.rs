//! Who asks, and what they may do.

pub mod authorize;
pub mod bootstrap;
pub mod certificate;
pub(crate) mod impersonate;
mod issue;
pub mod issuers;
pub mod jwt;
pub mod others;
pub mod pki;
pub mod rbac;
pub mod reviews;
pub mod roles;
pub mod token_file;
pub mod tokens;

pub use authorize::{Action, authorize};
pub use pki::Pki;

use serde_json::{Value, json};

use crate::pipeline::request::User;

/// May do everything, whatever the rules say.
pub const MASTERS: &str = "system:masters";
/// Everybody that the server knows.
pub const AUTHENTICATED: &str = "system:authenticated";
/// What of a user's extra says which of their credentials was shown.
pub(crate) const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
/// Everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

impl User {
    /// Who sent no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// A part of the engine itself: `system:controller:statefulset-controller`.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self {
            name: name.into(),
            groups: vec![MASTERS.into(), AUTHENTICATED.into()],
            is_engine: true,
            ..Self::default()
        }
    }

    /// As `authentication.k8s.io/v1.UserInfo`.
    #[must_use]
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.clone().into();
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}
