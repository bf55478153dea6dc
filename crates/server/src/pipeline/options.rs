//! From the query and the headers of a request to its options, in upstream's words when they are
//! none. Pure.

use coracle_api::{Cause, Status, Verb};
use serde_json::{Map, Value};

use crate::pipeline::parse::Query;
use crate::pipeline::request::{Body, Content, FieldValidation, Options};

/// Characters that `fieldManager` may have.
const FIELD_MANAGER_MAX: usize = 128;

/// The options in the query of a request for a resource. `agent` is the User-Agent, which names the
/// field manager when nothing else does.
///
/// # Errors
/// 400 and 422 for values that are none.
pub fn options(
    query: &Query,
    verb: Verb,
    content: Option<Content>,
    agent: &str,
) -> Result<Options, Status> {
    let is_apply = content == Some(Content::ApplyPatch);
    let number =
        |key: &str| Ok::<_, Status>(query.number(key)?.and_then(|n| u64::try_from(n).ok()));
    Ok(Options {
        field_manager: field_manager(query, verb, is_apply, agent)?,
        dry_run: dry_run(&query.all("dryRun").collect::<Vec<_>>(), verb)?,
        field_validation: field_validation(query, verb)?,
        force: force(query, verb, is_apply)?,
        label_selector: query.get("labelSelector").to_owned(),
        field_selector: query.get("fieldSelector").to_owned(),
        resource_version: query.get("resourceVersion").to_owned(),
        resource_version_match: query.get("resourceVersionMatch").to_owned(),
        limit: number("limit")?.unwrap_or(0),
        continue_token: query.get("continue").to_owned(),
        send_initial_events: query
            .has("sendInitialEvents")
            .then(|| query.flag("sendInitialEvents")),
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        timeout_seconds: number("timeoutSeconds")?.filter(|seconds| *seconds > 0),
        is_audited: false,
    })
}

/// `CreateOptions`, `UpdateOptions`, `PatchOptions`.
fn options_kind(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        _ => "DeleteOptions",
    }
}

fn invalid(verb: Verb, field: &str, message: &str) -> Status {
    let kind = options_kind(verb);
    let text = format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {message}");
    Status::failure(422, "Invalid", text).with_details(|details| {
        details.group = "meta.k8s.io".into();
        details.kind = kind.into();
        details.causes = vec![Cause {
            reason: match message.split(':').next() {
                Some("Required value") => "FieldValueRequired",
                Some("Forbidden") => "FieldValueForbidden",
                Some("Unsupported value") => "FieldValueNotSupported",
                Some("Too long") => "FieldValueTooLong",
                _ => "FieldValueInvalid",
            }
            .into(),
            message: message.into(),
            field: field.into(),
        }];
    })
}

/// As Go's `%q` shows a character.
fn go_character(character: char) -> String {
    match character {
        '\n' | '\r' | '\t' | '"' | '\\' => character.escape_default().to_string(),
        _ if character.is_ascii_control() => format!("\\x{:02x}", u32::from(character)),
        _ if character.is_control() => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    }
}

fn field_manager(query: &Query, verb: Verb, is_apply: bool, agent: &str) -> Result<String, Status> {
    let given = query.get("fieldManager");
    if given.is_empty() {
        if is_apply {
            let why = "Required value: is required for apply patch";
            return Err(invalid(verb, "fieldManager", why));
        }
        let agent = agent.split('/').next().unwrap_or_default();
        return Ok(agent.chars().filter(|c| !c.is_control()).take(FIELD_MANAGER_MAX).collect());
    }
    if given.chars().count() > FIELD_MANAGER_MAX {
        let why = format!("Too long: may not be more than {FIELD_MANAGER_MAX} bytes");
        return Err(invalid(verb, "fieldManager", &why));
    }
    if let Some((at, odd)) = given.char_indices().find(|(_, c)| c.is_control()) {
        let shown: String = given.chars().map(go_character).collect();
        let why = format!(
            "Invalid value: \"{shown}\": invalid character U+{:04X} (at position {at})",
            u32::from(odd)
        );
        return Err(invalid(verb, "fieldManager", &why));
    }
    Ok(given.to_owned())
}

/// Whether `values` ask for a dry run: `All` is the only one there is.
///
/// # Errors
/// 422 for any other value.
pub(crate) fn dry_run(values: &[&str], verb: Verb) -> Result<bool, Status> {
    if values.iter().all(|value| *value == "All") {
        return Ok(!values.is_empty());
    }
    let shown = Value::from(values.iter().map(ToString::to_string).collect::<Vec<_>>());
    let why = format!("Unsupported value: {shown}: supported values: \"All\"");
    Err(invalid(verb, "dryRun", &why))
}

fn field_validation(query: &Query, verb: Verb) -> Result<FieldValidation, Status> {
    match query.get("fieldValidation") {
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Ignore" => Ok(FieldValidation::Ignore),
        "Strict" => Ok(FieldValidation::Strict),
        other => {
            let why = format!(
                "Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
            );
            Err(invalid(verb, "fieldValidation", &why))
        }
    }
}

fn force(query: &Query, verb: Verb, is_apply: bool) -> Result<bool, Status> {
    if query.has("force") && verb == Verb::Patch && !is_apply {
        return Err(invalid(verb, "force", "Forbidden: may not be specified for non-apply patch"));
    }
    Ok(query.flag("force"))
}

/// The DeleteOptions in a query, as a body would say it.
///
/// # Errors
/// 400 for a grace period that is no number.
pub fn delete_options(query: &Query) -> Result<Body, Status> {
    let mut options = Map::new();
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        options.insert("gracePeriodSeconds".into(), seconds.into());
    }
    if query.has("propagationPolicy") {
        options.insert("propagationPolicy".into(), query.get("propagationPolicy").into());
    }
    if query.has("orphanDependents") {
        options.insert("orphanDependents".into(), query.flag("orphanDependents").into());
    }
    Ok(match options.is_empty() {
        true => Body::Empty,
        false => Body::Object(Value::Object(options)),
    })
}

/// Media types of bodies for `verb`; `header` is the Content-Type.
///
/// # Errors
/// 415; but for a patch it lists what is accepted.
pub fn content(header: &str, verb: Verb) -> Result<Content, Status> {
    const PATCHES: &[(&str, Content)] = &[
        ("application/json-patch+json", Content::JsonPatch),
        ("application/merge-patch+json", Content::MergePatch),
        ("application/strategic-merge-patch+json", Content::StrategicMergePatch),
        ("application/apply-patch+yaml", Content::ApplyPatch),
    ];
    const OBJECTS: &[(&str, Content)] = &[
        ("application/json", Content::Json),
        ("application/yaml", Content::Yaml),
        ("application/vnd.kubernetes.protobuf", Content::Protobuf),
    ];
    let types = if verb == Verb::Patch { PATCHES } else { OBJECTS };
    let given = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if given.is_empty() && verb != Verb::Patch {
        return Ok(Content::Json);
    }
    types.iter().find(|(name, _)| *name == given).map(|(_, content)| *content).ok_or_else(|| {
        if verb == Verb::Patch {
            let message = "415: Unsupported Media Type";
            return Status::failure(415, "UnsupportedMediaType", message).with_details(|_| ());
        }
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            names.join(", ")
        );
        Status::failure(415, "UnsupportedMediaType", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_manages_fields_but_never_applies_them() {
        let manager = |query: &str, content| {
            let query = Query::parse(query);
            options(&query, Verb::Patch, Some(content), "kubectl/v1.37.0 (linux/amd64)")
                .map(|options| options.field_manager)
        };
        assert_eq!(manager("", Content::MergePatch).unwrap(), "kubectl");
        assert_eq!(manager("fieldManager=helm", Content::ApplyPatch).unwrap(), "helm");
        let refused = manager("", Content::ApplyPatch).unwrap_err();
        assert_eq!(
            refused.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required \
             for apply patch"
        );
    }
}
