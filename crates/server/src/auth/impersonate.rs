//! `kubectl --as`: acting as somebody else, for those who may.

use std::collections::BTreeMap;

use coracle_api::Status;
use coracle_store::Snapshot;
use http::HeaderMap;

use crate::auth::{AUTHENTICATED, Action, UNAUTHENTICATED, authorize};
use crate::parse::ResourceRef;
use crate::request::User;

/// The user that `headers` say to act as; `user` when they say nothing.
///
/// # Errors
/// 403 when `user` may not impersonate one of them.
pub(crate) fn user(snapshot: &Snapshot, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect()
    };
    let Some(name) = all("impersonate-user").pop() else {
        return match all("impersonate-group").is_empty() {
            true => Ok(user),
            false => Err(Status::bad_request("requested [{Group}] without impersonating a user")),
        };
    };
    let may = |resource: ResourceRef| authorize(snapshot, &user, &Action::Resource(resource));
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    may(target(account, &name))?;
    let mut groups = all("impersonate-group");
    for group in &groups {
        may(ResourceRef { resource: "groups".into(), name: group.clone(), ..impersonation() })?;
    }
    if groups.is_empty()
        && let Some((namespace, _)) = account
    {
        groups =
            vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let known = if name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == known) {
        groups.push(known.into());
    }
    let uid = all("impersonate-uid").pop().unwrap_or_default();
    Ok(User { name, uid, groups, extra: BTreeMap::new() })
}

fn impersonation() -> ResourceRef {
    ResourceRef { verb: "impersonate".into(), version: "v1".into(), ..ResourceRef::default() }
}

fn target(account: Option<(&str, &str)>, name: &str) -> ResourceRef {
    match account {
        Some((namespace, name)) => ResourceRef {
            resource: "serviceaccounts".into(),
            namespace: namespace.into(),
            name: name.into(),
            ..impersonation()
        },
        None => ResourceRef { resource: "users".into(), name: name.into(), ..impersonation() },
    }
}
