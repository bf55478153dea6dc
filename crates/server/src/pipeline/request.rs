//! What a request is after HTTP was parsed, once. Nobody further down sees a URL; callers in the
//! process (driver, node) build the same value.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Kind, Subresource, Verb};
use serde_json::Value;

/// A request for objects of one kind.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub user: User,
    /// What is asked.
    pub verb: Verb,
    /// The row of the kind.
    pub kind: Arc<Kind>,
    /// Empty for cluster scope, or for a list across namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The part or action of the object; none for the object itself.
    pub subresource: Option<Subresource>,
    /// The query.
    pub options: Options,
    /// What the client sent.
    pub body: Body,
}

/// `user.Info`: who asks, as authentication found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:default:web`, `kubernetes-admin`…
    pub name: String,
    /// UID, when the authenticator knows one.
    pub uid: String,
    /// `system:authenticated`, `system:masters`…
    pub groups: Vec<String>,
    /// Whatever else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Whether it is a part of this process. Nothing that comes over the network says so: a name,
    /// which a certificate or an impersonation can carry, never does.
    pub is_engine: bool,
}

/// Query parameters of all verbs; each verb reads its own.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who the change is attributed to in `managedFields`.
    pub field_manager: String,
    /// `dryRun=All`.
    pub dry_run: bool,
    /// What becomes of unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// Apply: take over fields of others.
    pub force: bool,
    /// As written; parsed by list, watch and deletecollection.
    pub label_selector: String,
    /// As written.
    pub field_selector: String,
    /// As written; empty when absent.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
    /// Page size; 0 for everything.
    pub limit: u64,
    /// Token of the next page.
    pub continue_token: String,
    /// Watch: send what exists first, then a bookmark.
    pub send_initial_events: Option<bool>,
    /// Watch: bookmarks are welcome.
    pub allow_watch_bookmarks: bool,
    /// Watch: end after so many seconds.
    pub timeout_seconds: Option<u64>,
    /// No parameter: whether an audit log remembers what admission says of the request.
    pub is_audited: bool,
}

/// `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop unknown fields silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse them.
    Strict,
}

/// A request's body, by what the verb needs.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// An object: bytes of a media type, not yet decoded.
    Encoded(Content, Bytes),
    /// An object built in the process.
    Object(Value),
}

/// Media types of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
    /// `application/json-patch+json`
    JsonPatch,
    /// `application/merge-patch+json`
    MergePatch,
    /// `application/strategic-merge-patch+json`
    StrategicMergePatch,
    /// `application/apply-patch+yaml`
    ApplyPatch,
}
