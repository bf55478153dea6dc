//! Nobody reads through a policy what they may not read: whoever writes a policy that takes params, or
//! binds it to some, must be allowed to get them.

use coracle_api::resources::{
    MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
};
use coracle_api::{FieldError, Kinds, Status};
use serde_json::Value;

use super::bound::ParamKind;
use crate::auth::authorize::is_allowed;
use crate::auth::{Action, MASTERS};
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;
use crate::pipeline::verbs::text;

/// The bindings in a resource, and where their policies are.
const BOUND: [(&str, &str); 2] = [
    (MUTATING_ADMISSION_POLICY_BINDINGS, MUTATING_ADMISSION_POLICIES),
    (VALIDATING_ADMISSION_POLICY_BINDINGS, VALIDATING_ADMISSION_POLICIES),
];

/// Refuses a policy or a binding with params that its writer may not get.
///
/// # Errors
/// 422, as upstream checks this where it validates them.
pub(in crate::pipeline::admission) fn may_see_params(
    attributes: &Attributes<'_>,
    value: &Value,
    kinds: &Kinds,
) -> Result<(), Status> {
    let request = attributes.request;
    let trusted = request.user.is_in(MASTERS) || request.user.is_engine;
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update)
        && request.subresource.is_none();
    if trusted || !is_write {
        return Ok(());
    }
    let (field, wanted, why) = if let Some((_, policies)) =
        BOUND.iter().find(|(bindings, _)| request.kind.is(bindings))
    {
        let Some(wanted) = of_binding(attributes, policies, value, kinds) else { return Ok(()) };
        let why =
            "does not have \"get\" permission on the object referenced by paramRef".to_owned();
        ("spec.paramRef", wanted, why)
    } else if BOUND.iter().any(|(_, policies)| request.kind.is(policies)) {
        let Some(kind) = of_policy(attributes, value) else { return Ok(()) };
        let all = || "*".to_owned();
        let wanted = ResourceRef { namespace: all(), name: all(), ..resource(Some(&kind), kinds) };
        let why = format!(
            "must have \"get\" permission on all objects of the referenced paramKind (kind={}, \
             apiVersion={})",
            kind.kind, kind.api_version
        );
        ("spec.paramKind", wanted, why)
    } else {
        return Ok(());
    };
    if is_allowed(attributes.snapshot, &request.user, &Action::Resource(wanted)) {
        return Ok(());
    }
    let error = FieldError::forbidden(field, format!("user {} {why}", shown(&request.user)));
    Err(Status::invalid(&request.kind, text(value, "/metadata/name"), &[error]))
}

/// The kind of the params of a policy, if that is new.
fn of_policy(attributes: &Attributes<'_>, value: &Value) -> Option<ParamKind> {
    let kind = ParamKind::of(&value["spec"]["paramKind"])?;
    let old = attributes.old.and_then(|old| ParamKind::of(&old.value()["spec"]["paramKind"]));
    (old.as_ref() != Some(&kind)).then_some(kind)
}

/// What a binding refers to, if that is new.
fn of_binding(
    attributes: &Attributes<'_>,
    policies: &str,
    value: &Value,
    kinds: &Kinds,
) -> Option<ResourceRef> {
    let spec = &value["spec"];
    let wanted = spec["paramRef"].is_object().then_some(&spec["paramRef"])?;
    let same =
        |field: &str| attributes.old.is_some_and(|old| old.value()["spec"][field] == spec[field]);
    if same("paramRef") && same("policyName") {
        return None;
    }
    let policy = attributes.snapshot.find(policies, "", text(spec, "/policyName"));
    let kind = policy.and_then(|policy| ParamKind::of(&policy.value()["spec"]["paramKind"]));
    Some(ResourceRef {
        namespace: text(wanted, "/namespace").to_owned(),
        name: text(wanted, "/name").to_owned(),
        ..resource(kind.as_ref(), kinds)
    })
}

/// All resources that `kind` may be.
fn resource(kind: Option<&ParamKind>, kinds: &Kinds) -> ResourceRef {
    let all = || "*".to_owned();
    let any = ResourceRef {
        verb: "get".into(),
        group: all(),
        version: all(),
        resource: all(),
        ..ResourceRef::default()
    };
    let Some(kind) = kind else { return any };
    let (group, version) = coracle_api::kinds::split_api_version(&kind.api_version);
    let row = kinds.kind(group, version, &kind.kind);
    ResourceRef {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: row.map_or_else(all, |row| row.plural.to_string()),
        ..any
    }
}

/// A user as Go prints it.
fn shown(user: &User) -> String {
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    let User { name, uid, groups, .. } = user;
    format!("&{{{name} {uid} [{}] map[{}]}}", groups.join(" "), extra.join(" "))
}
