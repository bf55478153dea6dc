//! Under which names a definition is served: those that nobody else in its group has, in the words of
//! upstream's naming and establishing controllers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::text;
use crate::Kind;

const ACCEPTED: &str = "NamesAccepted";
const ESTABLISHED: &str = "Established";

/// The names in a group that belong to others.
#[derive(Debug, Default)]
pub struct Taken {
    /// Plural, singular and short names.
    resources: BTreeSet<String>,
    /// Kinds, and kinds of lists.
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Adds the names of a kind that is compiled in.
    pub fn by_kind(&mut self, kind: &Kind) {
        let names = [&kind.plural, &kind.singular].into_iter().chain(kind.short_names.iter());
        self.resources.extend(names.map(ToString::to_string));
        self.kinds.extend([kind.kind.to_string(), format!("{}List", kind.kind)]);
    }

    /// Adds the names under which another definition was accepted.
    pub fn by_definition(&mut self, definition: &Value) {
        let names = &definition["status"]["acceptedNames"];
        let named = |name: &&str| !name.is_empty();
        let short = names["shortNames"].as_array().into_iter().flatten();
        let plain = [&names["plural"], &names["singular"]].into_iter().chain(short);
        self.resources.extend(plain.filter_map(Value::as_str).filter(named).map(str::to_owned));
        let kinds = [&names["kind"], &names["listKind"]].into_iter().filter_map(Value::as_str);
        self.kinds.extend(kinds.filter(named).map(str::to_owned));
    }
}

/// What no other definition may be called: each accepted name with its group. Resources and kinds are
/// told apart by a letter.
pub fn terms(definition: &Value) -> Vec<String> {
    let mut own = Taken::default();
    own.by_definition(definition);
    let group = text(definition, "/spec/group");
    let resources = own.resources.iter().map(|name| format!("r/{group}/{name}"));
    resources.chain(own.kinds.iter().map(|kind| format!("k/{group}/{kind}"))).collect()
}

/// Whether objects of `definition` are served.
pub fn is_established(definition: &Value) -> bool {
    status_of(definition, ESTABLISHED) == Some("True")
}

fn status_of<'a>(definition: &'a Value, ty: &str) -> Option<&'a str> {
    let conditions = definition["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == ty)?["status"].as_str()
}

/// Whether a definition does not have all the names that it asks for.
pub fn is_waiting(definition: &Value) -> bool {
    status_of(definition, ACCEPTED) != Some("True")
}

/// Whether nobody among `taken` has what `definition` asks for.
pub fn is_free(definition: &Value, taken: &Taken) -> bool {
    accepted(definition, taken).1.is_none()
}

/// Accepts the names that `definition` asks for and nobody has, and says so in its conditions. One
/// that is established stays so.
pub fn accept(definition: &mut Value, taken: &Taken, now: &str) {
    let (names, conflict) = accepted(definition, taken);
    definition["status"]["acceptedNames"] = names.into();
    let is_free = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    set_condition(definition, ACCEPTED, is_free, (reason, &message), now);
    if is_established(definition) {
        return;
    }
    let why = match is_free {
        true => ("InitialNamesAccepted", "the initial names have been accepted"),
        false => ("NotAccepted", "not all names are accepted"),
    };
    set_condition(definition, ESTABLISHED, is_free, why, now);
}

type Conflict = (&'static str, String);

/// The names to serve, and why they are not all that is asked for: the last reason there is.
fn accepted(definition: &Value, taken: &Taken) -> (Map<String, Value>, Option<Conflict>) {
    let (asked, before) = (&definition["spec"]["names"], &definition["status"]["acceptedNames"]);
    let mut names = Map::new();
    let mut conflict = None;
    let mut settle = |field: &str, reason: &'static str, others: &BTreeSet<String>| {
        let used = texts(&asked[field]).into_iter().find(|name| others.contains(name));
        let kept = if used.is_some() { &before[field] } else { &asked[field] };
        if let Some(name) = used {
            conflict = Some((reason, format!("{name:?} is already in use")));
        }
        match (kept, field) {
            (Value::Null, "shortNames") => {}
            (Value::Null, _) => drop(names.insert(field.to_owned(), "".into())),
            (kept, _) => drop(names.insert(field.to_owned(), kept.clone())),
        }
    };
    settle("plural", "PluralConflict", &taken.resources);
    settle("singular", "SingularConflict", &taken.resources);
    settle("shortNames", "ShortNamesConflict", &taken.resources);
    settle("kind", "KindConflict", &taken.kinds);
    settle("listKind", "ListKindConflict", &taken.kinds);
    if !asked["categories"].is_null() {
        names.insert("categories".to_owned(), asked["categories"].clone());
    }
    (names, conflict)
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn set_condition(
    definition: &mut Value,
    ty: &str,
    is_so: bool,
    (reason, message): (&str, &str),
    now: &str,
) {
    let status = if is_so { "True" } else { "False" };
    let is_new = status_of(definition, ty) != Some(status);
    let conditions = &mut definition["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(all) = conditions.as_array_mut() else { return };
    let at = all.iter().position(|condition| condition["type"] == ty);
    let since = match at.and_then(|at| all.get(at)) {
        Some(old) if !is_new => text(old, "/lastTransitionTime").to_owned(),
        _ => now.to_owned(),
    };
    let new = json!({
        "type": ty,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    });
    match at.and_then(|at| all.get_mut(at)) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ships() -> Value {
        json!({"spec": {"names": {"plural": "ships", "singular": "ship", "kind": "Boat",
            "listKind": "BoatList", "shortNames": ["sh"]}}})
    }

    #[test]
    fn a_name_that_another_has_is_not_accepted() {
        let mut others = Taken::default();
        let mut first = ships();
        first["spec"]["names"]["plural"] = "boats".into();
        accept(&mut first, &others, "t0");
        assert!(is_established(&first));
        others.by_definition(&first);
        let mut second = ships();
        accept(&mut second, &others, "t1");
        assert!(!is_established(&second));
        assert_eq!(
            second["status"]["conditions"],
            json!([
                {"type": "NamesAccepted", "status": "False", "reason": "ListKindConflict",
                 "message": "\"BoatList\" is already in use", "lastTransitionTime": "t1"},
                {"type": "Established", "status": "False", "reason": "NotAccepted",
                 "message": "not all names are accepted", "lastTransitionTime": "t1"},
            ])
        );
        assert_eq!(second["status"]["acceptedNames"]["kind"], "");
        assert_eq!(second["status"]["acceptedNames"]["plural"], "ships");
        accept(&mut second, &Taken::default(), "t2");
        assert!(is_established(&second), "once the other is gone");
    }

    #[test]
    fn what_is_established_stays_so_under_its_former_names() {
        let mut ships = ships();
        accept(&mut ships, &Taken::default(), "t0");
        ships["spec"]["names"]["shortNames"] = json!(["po"]);
        let mut others = Taken::default();
        others.resources.insert("po".to_owned());
        accept(&mut ships, &others, "t1");
        assert!(is_established(&ships));
        assert_eq!(ships["status"]["acceptedNames"]["shortNames"], json!(["sh"]));
        assert_eq!(ships["status"]["conditions"][0]["reason"], "ShortNamesConflict");
    }
}
