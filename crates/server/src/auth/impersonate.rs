//! `kubectl --as`: acting as somebody else, for those who may. Every attribute that is taken on is
//! asked for: a UID or an extra can carry rights with webhooks and policies as a name does.

use std::collections::BTreeMap;

use coracle_api::Status;
use coracle_api::resources::SERVICE_ACCOUNTS;
use coracle_api::text::urls;
use coracle_store::Snapshot;
use http::HeaderMap;

use crate::auth::{AUTHENTICATED, Action, UNAUTHENTICATED, authorize};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;

const USER: &str = "impersonate-user";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const ANONYMOUS: &str = "system:anonymous";

/// Whether `headers` say to act as somebody else.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(USER)
}

/// The user that `headers` say to act as; `user` when they say nothing.
///
/// # Errors
/// 400 for attributes without a user, 403 when `user` may not impersonate one of them.
pub(crate) fn user(snapshot: &Snapshot, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    for asked in asked(&wanted) {
        authorize(snapshot, &user, &Action::Resource(asked))?;
    }
    Ok(complete(wanted))
}

/// Who is to be impersonated, as the client says it.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            extra.entry(urls::decoded(key)).or_default().push(value);
        }
    }
    let wanted = User {
        name: first(USER),
        uid: first("impersonate-uid"),
        groups: all("impersonate-group"),
        extra,
        is_engine: false,
    };
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty() {
        return Ok(None);
    }
    let shown = shown(&wanted);
    Err(Status::bad_request(format!("requested {shown} without impersonating a user name")))
}

/// A user as Go prints one.
fn shown(user: &User) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".into() } else { list(&user.groups) };
    let pairs: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
    let extra = match pairs.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => format!("map[string][]string{{{}}}", pairs.join(", ")),
    };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}",
        user.name, user.uid
    )
}

/// What must be allowed: `impersonate` on the user, each group, the UID and each value of an extra.
fn asked(wanted: &User) -> Vec<ResourceRef> {
    let of_authentication = |resource: &str, subresource: &str, name: &str| ResourceRef {
        group: "authentication.k8s.io".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        ..impersonation()
    };
    let mut all = vec![target(&wanted.name)];
    all.extend(wanted.groups.iter().map(|group| ResourceRef {
        resource: "groups".into(),
        name: group.clone(),
        ..impersonation()
    }));
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|value| of_authentication("userextras", key, value)));
    }
    if !wanted.uid.is_empty() {
        all.push(of_authentication("uids", "", &wanted.uid));
    }
    all
}

/// The groups that come with a name.
fn complete(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = account(&user.name)
    {
        user.groups =
            vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let known = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.groups.iter().any(|group| group == known) {
        user.groups.push(known.into());
    }
    user
}

fn account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
}

fn impersonation() -> ResourceRef {
    ResourceRef { verb: "impersonate".into(), version: "v1".into(), ..ResourceRef::default() }
}

fn target(name: &str) -> ResourceRef {
    match account(name) {
        Some((namespace, name)) => ResourceRef {
            resource: SERVICE_ACCOUNTS.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..impersonation()
        },
        None => ResourceRef { resource: "users".into(), name: name.into(), ..impersonation() },
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(pair).collect()
    }

    /// `eve` may impersonate the user `bob`, and him alone.
    fn snapshot() -> Snapshot {
        let group = "rbac.authorization.k8s.io";
        let object = |resource: &str, value| {
            Object::with_resource(format!("{resource}.{group}"), value).unwrap()
        };
        let role = object(
            "clusterroles",
            json!({"metadata": {"name": "as-bob"}, "rules": [
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
                {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"],
                 "resourceNames": ["view"]},
            ]}),
        );
        let binding = object(
            "clusterrolebindings",
            json!({"metadata": {"name": "as-bob"},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "as-bob"},
                "subjects": [{"kind": "User", "name": "eve"}]}),
        );
        Snapshot::of([role, binding]).unwrap()
    }

    fn acted(all: &[(&'static str, &'static str)]) -> Result<User, u16> {
        let eve = User { name: "eve".into(), ..User::default() };
        user(&snapshot(), eve, &headers(all)).map_err(|status| status.code)
    }

    #[test]
    fn every_attribute_needs_its_own_leave() {
        let bob = ("impersonate-user", "bob");
        assert_eq!(acted(&[bob]).unwrap().groups, [AUTHENTICATED]);
        assert_eq!(acted(&[("impersonate-user", "alice")]), Err(403));
        assert_eq!(acted(&[bob, ("impersonate-group", "system:masters")]), Err(403));
        assert_eq!(acted(&[bob, ("impersonate-uid", "7")]), Err(403));
        assert_eq!(acted(&[bob, ("impersonate-extra-scopes", "edit")]), Err(403));
        let extra = acted(&[bob, ("impersonate-extra-scopes", "view")]).unwrap().extra;
        assert_eq!(extra["scopes"], ["view"]);
        assert_eq!(acted(&[]).unwrap().name, "eve");
    }

    #[test]
    fn attributes_of_nobody_are_refused_and_never_the_caller_s() {
        for attribute in
            [("impersonate-uid", "x"), ("impersonate-group", "g"), ("impersonate-extra-a%2fb", "c")]
        {
            assert_eq!(acted(&[attribute]), Err(400), "{attribute:?}");
        }
        let refused = wanted(&headers(&[("impersonate-uid", "x")])).unwrap_err();
        assert_eq!(
            refused.message,
            "requested &user.DefaultInfo{Name:\"\", UID:\"x\", Groups:[]string(nil), \
             Extra:map[string][]string(nil)} without impersonating a user name"
        );
    }
}
