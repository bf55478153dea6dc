//! A checked expression: what is evaluated.

use std::sync::Arc;

use crate::function::Overload;
use crate::types::Type;
use crate::value::Value;

/// A step of an evaluation, and what it comes to.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) ty: Type,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value<'static>),
    /// What was declared, by its place.
    Variable(usize),
    /// What a comprehension has bound, by its place among all that are open.
    Local(usize),
    Select(Box<Node>, Arc<str>),
    OptionalSelect(Box<Node>, Arc<str>),
    Has(Box<Node>, Arc<str>),
    Index(Box<[Node; 2]>),
    OptionalIndex(Box<[Node; 2]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Choice(Box<[Node; 3]>),
    /// Whether it is anything but `false`, be it a failure.
    NotStrictlyFalse(Box<Node>),
    Call(Call),
    /// Elements, and whether each is an optional one.
    List(Vec<(Node, bool)>),
    /// Keys, values, and whether each is an optional one.
    Map(Vec<(Node, Node, bool)>),
    /// An object, by its name and its fields, and whether each is an optional one.
    Struct(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    /// What a variable of a policy comes to, by its place among them.
    Composed(usize),
    Fold(Box<Fold>),
    /// What a comprehension has gathered, and a list that is put to its end.
    Append(usize, Box<Node>),
    /// What a comprehension has gathered, and a key and a value, or a map of both.
    Insert(usize, Vec<Node>),
}

/// A call, and which functions it may mean.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<&'static Overload>,
    pub(crate) args: Vec<Node>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("name", &self.name).field("args", &self.args).finish()
    }
}

/// A comprehension.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    /// Whether it has two variables: index or key, and value.
    pub(crate) is_pair: bool,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Node {
    /// What it is made of.
    pub(crate) fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Variable(_) | Kind::Local(_) | Kind::Composed(_) => Vec::new(),
            Kind::Select(of, _) | Kind::OptionalSelect(of, _) | Kind::Has(of, _) => vec![of],
            Kind::NotStrictlyFalse(of) | Kind::Append(_, of) => vec![of],
            Kind::Index(two) | Kind::OptionalIndex(two) | Kind::And(two) | Kind::Or(two) => {
                two.iter().collect()
            }
            Kind::Choice(three) => three.iter().collect(),
            Kind::Call(call) => call.args.iter().collect(),
            Kind::List(items) => items.iter().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|(key, it, _)| [key, it]).collect(),
            Kind::Struct(_, fields) => fields.iter().map(|(_, field, _)| field).collect(),
            Kind::Insert(_, items) => items.iter().collect(),
            Kind::Fold(fold) => {
                vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
            }
        }
    }

    /// Whether it is an attribute, which a selection goes on with and which is counted already.
    pub(crate) fn is_attribute(&self) -> bool {
        matches!(
            self.kind,
            Kind::Variable(_)
                | Kind::Local(_)
                | Kind::Select(..)
                | Kind::OptionalSelect(..)
                | Kind::Index(_)
                | Kind::OptionalIndex(_)
                | Kind::Choice(_)
                | Kind::Composed(_)
        )
    }
}
