//! What a MutatingAdmissionPolicy makes of an object.

use serde_json::{Value as Json, json};

use super::budget::{self, Budget, Expression};
use super::conditions::{Conditions, Verdict};
use super::environment::{Policy, Wanted, has_params};
use super::json;
use super::subject::Subject;
use crate::scope::Composed;
use crate::value::{List, Map, Struct, Value};

/// The expressions of a policy.
#[derive(Debug)]
pub struct Mutating {
    conditions: Conditions,
    variables: Vec<Composed>,
    mutations: Vec<(Form, Expression)>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Configuration,
    Patches,
}

/// How an object is to change.
#[derive(Debug, PartialEq, Eq)]
pub enum Patch {
    /// It is to have what is here, too.
    Configuration(Json),
    /// A JSON patch.
    Json(Json),
}

impl Mutating {
    /// Those of the policy `spec`.
    #[must_use]
    pub fn of(spec: &Json) -> Self {
        let policy = Policy::of(spec);
        let mutation = |item: &Json| {
            let (form, wanted, field) = match item["patchType"].as_str() {
                Some("JSONPatch") => (Form::Patches, Wanted::Patches, "jsonPatch"),
                _ => (Form::Configuration, Wanted::Object, "applyConfiguration"),
            };
            let source = item[field]["expression"].as_str().unwrap_or_default();
            (form, policy.expression(source, wanted, true))
        };
        let mutations = spec["mutations"].as_array().into_iter().flatten().map(mutation).collect();
        let conditions = Conditions::of(&spec["matchConditions"], has_params(spec));
        Self { conditions, variables: policy.variables, mutations }
    }

    /// How many changes it makes, each of what the one before it left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    /// Whether it makes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// Whether it is about `subject` at all.
    #[must_use]
    pub fn wants(&self, subject: Subject) -> Verdict {
        self.conditions.judge(subject)
    }

    /// The change `index` of `subject`.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn patch(&self, index: usize, subject: Subject) -> Result<Option<Patch>, String> {
        let Some((form, expression)) = self.mutations.get(index) else { return Ok(None) };
        let scope = subject.scope(&self.variables);
        let made = Budget(budget::EXPRESSIONS)
            .run(expression, &scope)
            .map_err(|exhausted| exhausted.to_string())??;
        let patch = match (form, &made) {
            (Form::Configuration, Value::Struct(made)) => configuration(made)?,
            (Form::Patches, Value::List(list)) => patches(list)?,
            (_, other) => {
                return Err(format!("unsupported return type: {}", other.type_name()));
            }
        };
        Ok(Some(patch))
    }
}

fn configuration(made: &Struct) -> Result<Patch, String> {
    let mut wrong = Vec::new();
    check_struct(made, "Object", &mut wrong);
    mismatch(&wrong)?;
    Ok(Patch::Configuration(json::of(&Value::Struct(made.clone().into()))?))
}

fn mismatch(wrong: &[String]) -> Result<(), String> {
    match wrong {
        [] => Ok(()),
        several => Err(format!("type mismatch: {}", several.join("\n"))),
    }
}

/// Objects in objects are called by the path that leads to them; lists and maps between have no name.
fn check_names(value: &Value, path: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Struct(made) => check_struct(made, path, wrong),
        Value::List(list @ List::Made(_)) => {
            list.iter().for_each(|item| check_names(&item, path, wrong));
        }
        Value::Map(map @ Map::Made(_)) => {
            let values = map.keys().into_iter().filter_map(|key| map.get(&key));
            values.for_each(|value| check_names(&value, path, wrong));
        }
        _ => {}
    }
}

fn check_struct(made: &Struct, path: &str, wrong: &mut Vec<String>) {
    if &*made.name != path {
        let name = &made.name;
        wrong.push(format!(
            "unexpected type name {name:?}, expected {path:?}, which matches field name path from root \
             Object type"
        ));
    }
    for (field, value) in &made.fields {
        check_names(value, &format!("{path}.{field}"), wrong);
    }
}

fn patches(list: &List) -> Result<Patch, String> {
    let mut all = Vec::with_capacity(list.len());
    for item in list.iter() {
        let Value::Struct(operation) = &item else {
            let found = item.type_name();
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got \
                 element of {found}"
            ));
        };
        let text = |field: &str| {
            operation.fields.get(field).and_then(Value::as_text).unwrap_or_default().to_owned()
        };
        let mut patch = json!({"op": text("op"), "path": text("path")});
        let from = text("from");
        if !from.is_empty() {
            patch["from"] = from.into();
        }
        if let Some(value) = operation.fields.get("value") {
            let mut wrong = Vec::new();
            if let Value::Struct(made) = value {
                check_struct(made, &made.name, &mut wrong);
            }
            mismatch(&wrong)?;
            patch["value"] = json::of(value).map_err(|why| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")
            })?;
        }
        all.push(patch);
    }
    Ok(Patch::Json(Json::Array(all)))
}
