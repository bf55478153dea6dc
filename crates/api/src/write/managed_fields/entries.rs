//! `metadata.managedFields`: who set which fields, entry by entry.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// Entries of updates beyond these are merged into one.
const UPDATERS_MAX: usize = 10;
const ANCIENT_CHANGES: &str = "ancient-changes";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By anything else.
    Update,
}

/// Who an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// How it writes.
    pub operation: Operation,
    /// Its name: `helm`, `kubectl-client-side-apply`.
    pub name: String,
    /// The version its fields belong to; one who applies has one entry whatever the version.
    pub api_version: String,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: String,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub set: FieldSet,
    /// Version of the schema that the fields belong to.
    pub api_version: String,
    /// When it last changed something, RFC 3339.
    pub time: Option<String>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// By manager.
    pub by_manager: BTreeMap<Manager, Owned>,
}

impl Manager {
    /// The entry's identity: one who applies is the same in every version.
    pub fn new(operation: Operation, name: &str, api_version: &str, subresource: &str) -> Self {
        let api_version = match operation {
            Operation::Apply => String::new(),
            Operation::Update => api_version.to_string(),
        };
        let (name, subresource) = (name.to_string(), subresource.to_string());
        Self { operation, name, api_version, subresource }
    }

    /// As conflicts name it: `"kubectl-edit" using apps/v1`.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        match self.operation {
            Operation::Apply => text,
            Operation::Update => format!("{text} using {}", self.api_version),
        }
    }
}

impl Entries {
    /// Reads `metadata.managedFields`; `None` when one of the entries cannot be understood.
    pub fn parse(managed_fields: Option<&Value>) -> Option<Self> {
        let mut entries = Self::default();
        let list = match managed_fields {
            None | Some(Value::Null) => return Some(entries),
            Some(list) => list.as_array()?,
        };
        for entry in list {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("fieldsType") != "FieldsV1" {
                return None;
            }
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => FieldSet::default(),
                Some(fields) => FieldSet::parse(fields)?,
            };
            let api_version = text("apiVersion").to_string();
            let manager =
                Manager::new(operation, text("manager"), &api_version, text("subresource"));
            let time = entry.get("time").and_then(Value::as_str).map(str::to_string);
            entries.by_manager.insert(manager, Owned { set, api_version, time });
        }
        Some(entries)
    }

    /// The wire form, sorted as upstream sorts; `None` when there are no entries.
    pub fn to_json(&self) -> Option<Value> {
        let mut sorted: Vec<(&Manager, &Owned)> = self.by_manager.iter().collect();
        sorted.sort_by(|(a, owned_a), (b, owned_b)| {
            (a.operation, &owned_a.time, &a.name, &owned_a.api_version, &a.subresource).cmp(&(
                b.operation,
                &owned_b.time,
                &b.name,
                &owned_b.api_version,
                &b.subresource,
            ))
        });
        let entries: Vec<Value> =
            sorted.into_iter().map(|(manager, owned)| entry_json(manager, owned)).collect();
        if entries.is_empty() { None } else { Some(Value::Array(entries)) }
    }

    /// Merges the oldest entries of updates, one version each, until there are ten.
    pub fn cap(&mut self) {
        let mut updaters: Vec<Manager> = self
            .by_manager
            .keys()
            .filter(|manager| manager.operation == Operation::Update)
            .cloned()
            .collect();
        let time = |manager: &Manager| self.by_manager.get(manager).and_then(|o| o.time.clone());
        updaters.sort_by_cached_key(|manager| (time(manager), manager.clone()));
        let mut count = updaters.len();
        let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
        for manager in updaters {
            if count <= UPDATERS_MAX {
                break;
            }
            let version = manager.api_version.clone();
            let Some(first) = first_of_version.get(&version) else {
                first_of_version.insert(version, manager);
                continue;
            };
            let bucket = Manager::new(Operation::Update, ANCIENT_CHANGES, &version, "");
            if !self.by_manager.contains_key(&bucket)
                && let Some(owned) = self.by_manager.remove(first)
            {
                self.by_manager.insert(bucket.clone(), owned);
            }
            if manager == bucket {
                continue;
            }
            let taken = self.by_manager.remove(&manager);
            if let (Some(taken), Some(owned)) = (taken, self.by_manager.get_mut(&bucket)) {
                owned.set = std::mem::take(&mut owned.set).union(&taken.set);
                owned.time = taken.time;
            }
            count -= 1;
        }
    }
}

fn entry_json(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let operation = match manager.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    entry.insert("manager".into(), json!(manager.name));
    entry.insert("operation".into(), json!(operation));
    entry.insert("apiVersion".into(), json!(owned.api_version));
    if let Some(time) = &owned.time {
        entry.insert("time".into(), json!(time));
    }
    entry.insert("fieldsType".into(), json!("FieldsV1"));
    entry.insert("fieldsV1".into(), owned.set.to_json());
    if !manager.subresource.is_empty() {
        entry.insert("subresource".into(), json!(manager.subresource));
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_updates_are_merged_beyond_ten() {
        let mut entries = Entries::default();
        for n in 0..13 {
            let manager = Manager::new(Operation::Update, &format!("m{n:02}"), "v1", "");
            let set = FieldSet::of_fields(&["spec", &format!("f{n}")]);
            let time = Some(format!("2026-01-01T00:00:{n:02}Z"));
            entries.by_manager.insert(manager, Owned { set, api_version: "v1".into(), time });
        }
        entries.cap();
        assert_eq!(entries.by_manager.len(), 10);
        let ancient = Manager::new(Operation::Update, "ancient-changes", "v1", "");
        let ancient = &entries.by_manager[&ancient];
        assert_eq!(ancient.set.paths(), [".spec.f0", ".spec.f1", ".spec.f2", ".spec.f3"]);
        assert_eq!(ancient.time.as_deref(), Some("2026-01-01T00:00:03Z"));
        let again = Entries::parse(entries.to_json().as_ref()).unwrap();
        assert_eq!(again, entries);
    }

    #[test]
    fn an_entry_of_an_unknown_form_spoils_all() {
        for bad in
            [json!([{}]), json!([{"fieldsType": "FieldsV1", "operation": "Merge"}]), json!(1)]
        {
            assert_eq!(Entries::parse(Some(&bad)), None);
        }
        assert_eq!(Entries::parse(None), Some(Entries::default()));
    }
}
