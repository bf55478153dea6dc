//! Comprehensions.

use std::sync::Arc;

use super::{Evaluation, put};
use crate::cost;
use crate::function::Outcome;
use crate::meter::Failure;
use crate::node::{Fold, Kind, Node};
use crate::value::{List, Map, Value};

impl<'a> Evaluation<'a, '_> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let range = self.node(&fold.range)?;
        let init = match self.node(&fold.init) {
            Err(Failure::Cancelled) => return Err(Failure::Cancelled),
            other => other,
        };
        let place = self.locals.len();
        self.locals.push(init);
        let outcome = self.go_over(fold, range, place);
        self.locals.truncate(place + 1);
        let result = outcome.and_then(|()| self.node(&fold.result));
        self.locals.truncate(place);
        result
    }

    fn go_over(&mut self, fold: &'a Fold, range: Value<'a>, place: usize) -> Result<(), Failure> {
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    let at = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    let bound =
                        if fold.is_pair { [Some(at), Some(item)] } else { [Some(item), None] };
                    if !self.turn(fold, bound, place)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                let keys = map.keys();
                self.context.meter.elements(keys.len())?;
                for key in keys {
                    let value = fold.is_pair.then(|| map.get(&key)).flatten();
                    if !self.turn(fold, [Some(key.value()), value], place)? {
                        break;
                    }
                }
                Ok(())
            }
            other => {
                Err(Failure::new(format!("got '{}', expected iterable type", other.type_name())))
            }
        }
    }

    /// One turn with `bound` for its variables; false when there are to be no more.
    fn turn(
        &mut self,
        fold: &'a Fold,
        bound: [Option<Value<'a>>; 2],
        place: usize,
    ) -> Result<bool, Failure> {
        self.context.meter.work(1)?;
        self.locals.truncate(place + 1);
        self.locals.extend(bound.into_iter().flatten().map(Ok));
        match self.node(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(Failure::Cancelled) => return Err(Failure::Cancelled),
            _ => {}
        }
        let step = self.node(&fold.step);
        if matches!(step, Err(Failure::Cancelled)) {
            return Err(Failure::Cancelled);
        }
        if let Some(gathered) = self.locals.get_mut(place) {
            *gathered = step;
        }
        Ok(true)
    }

    /// What was gathered, taken out of its place: the step puts it back.
    fn taken(&mut self, place: usize) -> Outcome<'a> {
        self.context.meter.charge(1)?;
        match self.locals.get_mut(place) {
            Some(gathered) => std::mem::replace(gathered, Ok(Value::Null)),
            None => Err(Failure::new("no such attribute(s)")),
        }
    }

    pub(super) fn append(&mut self, place: usize, list: &'a Node) -> Outcome<'a> {
        let Kind::List(items) = &list.kind else { return self.node(list) };
        let added = self.list(items);
        let gathered = self.taken(place)?;
        self.context.meter.charge(1)?;
        match (gathered, added?) {
            (Value::List(List::Made(mut all)), Value::List(added)) => {
                // Nobody else has it, so that this copies nothing.
                Arc::make_mut(&mut all).extend(added.iter());
                Ok(Value::List(List::Made(all)))
            }
            (gathered, added) => Err(Failure::no_overload("_+_", &[gathered, added])),
        }
    }

    pub(super) fn insert(&mut self, place: usize, args: &'a [Node]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(2);
        for arg in args {
            values.push(self.node(arg)?);
        }
        let gathered = self.taken(place)?;
        self.context.meter.charge(1)?;
        self.context.meter.elements(4)?;
        let Value::Map(Map::Made(mut all)) = gathered else {
            return Err(Failure::no_overload("cel.@mapInsert", &[gathered]));
        };
        let entries = Arc::make_mut(&mut all);
        match values.as_slice() {
            [key, value] => put(entries, key, value.clone())?,
            [Value::Map(map)] => {
                for key in map.keys() {
                    if let Some(value) = map.get(&key) {
                        put(entries, &key.value(), value)?;
                    }
                }
                self.context.meter.charge((map.len() as u64).saturating_mul(cost::LIST))?;
            }
            _ => return Err(Failure::no_overload("cel.@mapInsert", &values)),
        }
        Ok(Value::Map(Map::Made(all)))
    }
}
