//! What the types of all steps turned out to be, once the whole expression is known.

use super::unify::Unifier;
use crate::node::{Kind, Node};

/// Settles the types of `node` and of all below it.
pub(super) fn all(types: &Unifier, node: &mut Node) {
    node.ty = types.settled(&node.ty);
    let go = |node: &mut Node| all(types, node);
    match &mut node.kind {
        Kind::Literal(_) | Kind::Variable(_) | Kind::Local(_) | Kind::Composed(_) => {}
        Kind::Select(of, _)
        | Kind::OptionalSelect(of, _)
        | Kind::Has(of, _)
        | Kind::NotStrictlyFalse(of)
        | Kind::Append(_, of) => go(of),
        Kind::Index(both) | Kind::OptionalIndex(both) | Kind::And(both) | Kind::Or(both) => {
            both.iter_mut().for_each(go);
        }
        Kind::Choice(parts) => parts.iter_mut().for_each(go),
        Kind::Call(call) => call.args.iter_mut().for_each(go),
        Kind::Insert(_, args) => args.iter_mut().for_each(go),
        Kind::List(items) => items.iter_mut().for_each(|(item, _)| go(item)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(key, value, _)| {
            go(key);
            go(value);
        }),
        Kind::Struct(_, fields) => fields.iter_mut().for_each(|(_, value, _)| go(value)),
        Kind::Fold(fold) => {
            go(&mut fold.range);
            go(&mut fold.init);
            go(&mut fold.condition);
            go(&mut fold.step);
            go(&mut fold.result);
        }
    }
}
