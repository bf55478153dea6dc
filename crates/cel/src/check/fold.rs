//! Comprehensions, which macros come to.

use cel::common::ast::{ComprehensionExpr, operators};

use super::Checker;
use crate::node::{Fold, Kind, Node};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn fold(&mut self, id: u64, fold: &ComprehensionExpr) -> Node {
        let range = self.node(&fold.iter_range);
        let (key, value) = self.range_types(fold.iter_range.id, &range.ty);
        let init = self.node(&fold.accu_init);
        let place = self.locals.len();
        let gathered = init.ty.clone();
        self.locals.push((fold.accu_var.clone(), gathered.clone()));
        match &fold.iter_var2 {
            Some(second) => {
                self.locals.push((fold.iter_var.clone(), key.unwrap_or(Type::Int)));
                self.locals.push((second.clone(), value));
            }
            None => self.locals.push((fold.iter_var.clone(), key.unwrap_or(value))),
        }
        let condition = self.node(&fold.loop_cond);
        let mut step = self.node(&fold.loop_step);
        self.locals.truncate(place + 1);
        if !self.types.fits(&condition.ty, &Type::Bool) {
            let found = self.shown(&condition.ty);
            self.mistake(id, format!("expected type 'bool' but found '{found}'"));
        }
        if !self.types.fits(&step.ty, &gathered) {
            let (wanted, found) = (self.shown(&gathered), self.shown(&step.ty));
            let why = format!("expected type '{wanted}' but found '{found}'");
            self.mistake(fold.loop_step.id, why);
        }
        gather_in_place(&mut step, place);
        let result = self.node(&fold.result);
        self.locals.truncate(place);
        let ty = result.ty.clone();
        let is_pair = fold.iter_var2.is_some();
        let fold = Fold { range, is_pair, init, condition, step, result };
        Node { kind: Kind::Fold(Box::new(fold)), ty }
    }

    /// Of what a comprehension goes over: the type of its keys, if it has some, and of its values.
    fn range_types(&mut self, id: u64, range: &Type) -> (Option<Type>, Type) {
        match self.types.shallow(range) {
            Type::List(list) => (None, list.element.clone()),
            Type::Map(of) => (Some(of.0.clone()), of.1.clone()),
            Type::Dyn | Type::Error | Type::Unknown(_) | Type::Param(_) => {
                (Some(Type::Dyn), Type::Dyn)
            }
            other => {
                let shown = self.shown(&other);
                let why = format!(
                    "expression of type '{shown}' cannot be range of a comprehension (must be list, \
                     map, or dynamic)"
                );
                self.mistake(id, why);
                (Some(Type::Error), Type::Error)
            }
        }
    }
}

/// Makes `gathered + [x]` at the end of a step put `x` to what is gathered, instead of copying that.
fn gather_in_place(step: &mut Node, place: usize) {
    let is_gathered = |node: &Node| matches!(node.kind, Kind::Local(it) if it == place);
    match &mut step.kind {
        Kind::Choice(parts) => {
            let [_, yes, no] = &mut **parts;
            gather_in_place(yes, place);
            gather_in_place(no, place);
        }
        Kind::Call(call) if call.args.first().is_some_and(is_gathered) => {
            let is_list = matches!(call.args.last(), Some(Node { kind: Kind::List(_), .. }));
            if call.name == operators::ADD && is_list {
                if let Some(list) = call.args.pop() {
                    step.kind = Kind::Append(place, Box::new(list));
                }
            } else if call.name == "cel.@mapInsert" {
                let inserted = call.args.drain(1..).collect();
                step.kind = Kind::Insert(place, inserted);
            }
        }
        _ => {}
    }
}
