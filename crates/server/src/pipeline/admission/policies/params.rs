//! Which objects a policy is run with.

use coracle_api::Kind;
use coracle_api::kinds::split_api_version;
use serde_json::Value;

use super::bound::{Binding, ParamKind};
use crate::pipeline::admission::subject::Subject;
use crate::pipeline::content;
use crate::pipeline::conversion;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

/// What a policy is run with: each once. Null stands for none at all.
///
/// # Errors
/// What is to be asked first. Within: why they are not known, for the policy to forgive or not.
pub(super) fn of(
    kind: Option<&ParamKind>,
    binding: &Binding,
    subject: &Subject<'_>,
    env: &WriteEnv<'_>,
) -> Result<Result<Vec<Value>, String>, Stop> {
    let (Some(kind), Some(wanted)) = (kind, &binding.params) else {
        return Ok(Ok(vec![Value::Null]));
    };
    let (group, version) = split_api_version(&kind.api_version);
    let Some(row) = env.kinds.kind(group, version, &kind.kind).filter(|row| row.is_stored()) else {
        let shown = format!("&ParamKind{{APIVersion:{},Kind:{},}}", kind.api_version, kind.kind);
        return Ok(Err(format!("paramKind kind `{shown}` not known")));
    };
    let namespace = match (row.is_namespaced(), wanted.namespace.as_str()) {
        (true, "") if subject.namespace.is_empty() => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped \
                       resources";
            return Ok(Err(why.to_owned()));
        }
        (true, "") => subject.namespace.as_str(),
        (true, namespace) => namespace,
        (false, "") => "",
        (false, _) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Ok(Err(why.to_owned()));
        }
    };
    let resource = row.storage_resource();
    let snapshot = subject.snapshot;
    let mut found = Vec::new();
    if wanted.name.is_empty() {
        let all = snapshot.list(&resource, row.is_namespaced().then_some(namespace));
        for object in all.filter(|it| wanted.selector.matches(&it.metadata().labels)) {
            found.push(shown(row, object, env)?);
        }
    } else if let Some(object) = snapshot.find(&resource, namespace, &wanted.name) {
        found.push(shown(row, object, env)?);
    }
    if found.is_empty() && !wanted.may_be_missing {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Ok(Err(why.to_owned()));
    }
    Ok(Ok(found))
}

/// A param in the form of its kind.
fn shown(row: &Kind, object: &coracle_api::Object, env: &WriteEnv<'_>) -> Result<Value, Stop> {
    if conversion::is_needed(row, object) {
        return env.converted(row, row.api_version(), object.value().clone());
    }
    Ok(content::readable(row, object))
}
