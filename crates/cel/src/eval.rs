//! Evaluates a checked expression. What each step costs is what cel-go's observers count for it: 1 for
//! an attribute and each selection on it, 10 for a list, 30 for a map, and what a call costs.

mod access;
mod fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost;
use crate::function::{Context, Outcome};
use crate::meter::Failure;
use crate::node::{Call, Kind, Node};
use crate::scope::Scope;
use crate::value::{Key, Struct, Value};

/// A running evaluation.
pub(crate) struct Evaluation<'a, 'c> {
    /// Values of the variables, in their places; those that were given.
    pub(crate) variables: &'c [Option<Value<'a>>],
    pub(crate) names: &'c [String],
    pub(crate) scope: &'c Scope<'a>,
    /// What comprehensions have bound; what they gather may be a failure that is made up for later.
    pub(crate) locals: Vec<Outcome<'a>>,
    pub(crate) context: Context<'a>,
}

impl<'a> Evaluation<'a, '_> {
    pub(crate) fn node(&mut self, node: &'a Node) -> Outcome<'a> {
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Variable(place) => self.variable(*place),
            Kind::Local(place) => self.local(*place),
            Kind::Select(of, field) => self.select(of, field),
            Kind::OptionalSelect(of, field) => self.optional_select(of, field),
            Kind::Has(of, field) => self.has(of, field),
            Kind::Index(both) => self.index(both),
            Kind::OptionalIndex(both) => self.optional_index(both),
            Kind::And(both) => self.logical(both, false),
            Kind::Or(both) => self.logical(both, true),
            Kind::Choice(parts) => self.choice(parts),
            Kind::NotStrictlyFalse(of) => self.not_strictly_false(of),
            Kind::Call(call) => self.call(call),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, fields) => self.made(name, fields),
            Kind::Composed(place) => self.composed(*place),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Append(place, list) => self.append(*place, list),
            Kind::Insert(place, args) => self.insert(*place, args),
        }
    }

    fn variable(&mut self, place: usize) -> Outcome<'a> {
        self.context.meter.charge(1)?;
        match self.variables.get(place) {
            Some(Some(value)) => Ok(value.clone()),
            _ => {
                let name = self.names.get(place).map_or("", String::as_str);
                Err(Failure::new(format!("no such attribute(s): {name}")))
            }
        }
    }

    /// A variable of a policy: a selection on all of them.
    fn composed(&mut self, place: usize) -> Outcome<'a> {
        self.context.meter.charge(2)?;
        self.scope.composed(place)
    }

    fn local(&mut self, place: usize) -> Outcome<'a> {
        self.context.meter.charge(1)?;
        self.locals.get(place).cloned().unwrap_or_else(|| Err(Failure::new("no such attribute(s)")))
    }

    /// `&&` and `||`: one side that decides makes up for a failure of the other.
    fn logical(&mut self, [a, b]: &'a [Node; 2], decides: bool) -> Outcome<'a> {
        let name = if decides { "_||_" } else { "_&&_" };
        let first = self.node(a);
        match first {
            Ok(Value::Bool(it)) if it == decides => return Ok(Value::Bool(it)),
            Err(Failure::Cancelled) => return Err(Failure::Cancelled),
            _ => {}
        }
        match (first, self.node(b)?) {
            (_, Value::Bool(it)) if it == decides => Ok(Value::Bool(it)),
            (Err(failure), _) => Err(failure),
            (Ok(Value::Bool(_)), Value::Bool(it)) => Ok(Value::Bool(it)),
            (Ok(first), second) => Err(Failure::no_overload(name, &[first, second])),
        }
    }

    fn choice(&mut self, [condition, yes, no]: &'a [Node; 3]) -> Outcome<'a> {
        match self.node(condition)? {
            Value::Bool(true) => self.node(yes),
            Value::Bool(false) => self.node(no),
            other => Err(Failure::no_overload("_?_:_", &[other])),
        }
    }

    fn not_strictly_false(&mut self, of: &'a Node) -> Outcome<'a> {
        let holds = match self.node(of) {
            Ok(Value::Bool(it)) => it,
            Err(Failure::Cancelled) => return Err(Failure::Cancelled),
            _ => true,
        };
        self.context.meter.charge(1)?;
        Ok(Value::Bool(holds))
    }

    fn call(&mut self, call: &'a Call) -> Outcome<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.node(arg)?);
        }
        let Some(overload) = call.overloads.iter().find(|it| it.takes(&args)) else {
            self.context.meter.charge(1)?;
            return Err(Failure::no_overload(call.name, &args));
        };
        let result = (overload.run)(&mut self.context, &args);
        self.context.meter.charge(overload.cost.of(&args, result.as_ref().ok()))?;
        result
    }

    fn list(&mut self, items: &'a [(Node, bool)]) -> Outcome<'a> {
        self.context.meter.elements(items.len())?;
        let mut all = Vec::with_capacity(items.len());
        for (item, is_optional) in items {
            let value = self.node(item)?;
            all.extend(kept(value, *is_optional)?);
        }
        self.context.meter.charge(cost::LIST)?;
        Ok(Value::list(all))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Outcome<'a> {
        self.context.meter.elements(entries.len().saturating_mul(2))?;
        let mut all = BTreeMap::new();
        for (key, value, is_optional) in entries {
            let key = self.node(key)?;
            let value = self.node(value)?;
            if let Some(value) = kept(value, *is_optional)? {
                put(&mut all, &key, value)?;
            }
        }
        self.context.meter.charge(cost::MAP)?;
        Ok(Value::map(all))
    }

    fn made(&mut self, name: &Arc<str>, fields: &'a [(Arc<str>, Node, bool)]) -> Outcome<'a> {
        self.context.meter.elements(fields.len().saturating_mul(2))?;
        let mut all = BTreeMap::new();
        for (field, value, is_optional) in fields {
            let value = self.node(value)?;
            if let Some(value) = kept(value, *is_optional)? {
                all.insert(Arc::clone(field), value);
            }
        }
        self.context.meter.charge(cost::STRUCT)?;
        Ok(Value::Struct(Arc::new(Struct { name: Arc::clone(name), fields: all })))
    }
}

/// What an entry of a list or map brings: an optional one, what it holds.
fn kept(value: Value, is_optional: bool) -> Result<Option<Value>, Failure> {
    match value {
        value if !is_optional => Ok(Some(value)),
        Value::Optional(of) => Ok(of.map(|of| (*of).clone())),
        other => {
            let name = other.type_name();
            Err(Failure::new(format!(
                "cannot initialize optional list element from non-optional value {name}"
            )))
        }
    }
}

/// Puts `value` at `key`, where there must be none.
fn put<'a>(
    all: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<(), Failure> {
    let name = match key {
        Value::Double(_) => None,
        key => Key::of(key),
    };
    let Some(name) = name else {
        return Err(Failure::new(format!("unsupported key type: {}", key.type_name())));
    };
    match all.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(Failure::new("Failed with repeated key")),
    }
}
