//! What an expression may cost at most, told from the expression and from how large what it names may
//! be: cel-go's `checker/cost.go`. These numbers are part of the API, as they decide which definitions
//! are accepted.

mod calls;
mod sizes;
#[cfg(test)]
mod tests;

pub(crate) use sizes::{Sized, limit};

use crate::node::{Call, Fold, Kind, Node};
use crate::types::Type;
use crate::value::Value;
use crate::{Program, cost};

/// How many there may be of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    least: u64,
    most: u64,
}

/// How large the entries of a list or map are.
#[derive(Debug, Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Size,
    value: Size,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy)]
enum Place<'s> {
    /// Nowhere: it is made.
    Nowhere,
    /// From here; or from where nothing is known of.
    At(Option<&'s Sized>),
}

/// What is known of a step before it is taken.
#[derive(Debug, Clone, Copy)]
struct Estimate<'s> {
    cost: u64,
    place: Place<'s>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// What a comprehension has bound.
#[derive(Debug, Clone, Copy)]
struct Bound<'s> {
    place: Place<'s>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// The most that `program` may cost, whose variables all are as large as `root`.
pub(crate) fn most(program: &Program, root: &Sized) -> u64 {
    let mut estimator = Estimator { root, bound: Vec::new() };
    estimator.node(&program.checked.root).cost
}

struct Estimator<'s> {
    root: &'s Sized,
    bound: Vec<Bound<'s>>,
}

impl Size {
    const UNKNOWN: Self = Self { least: 0, most: u64::MAX };

    fn exactly(size: u64) -> Self {
        Self { least: size, most: size }
    }

    fn add(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_mul(other.least),
            most: self.most.saturating_mul(other.most),
        }
    }

    fn union(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

impl Entries {
    fn union(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (a, b) = (a?, b?);
        Some(Self { key: a.key.union(b.key), value: a.value.union(b.value), ..a })
    }
}

impl<'s> Place<'s> {
    fn below(self, root: &'s Sized, step: impl FnOnce(&'s Sized) -> Option<&'s Sized>) -> Self {
        match self {
            // As upstream, which takes the first step from anywhere for a variable.
            Self::Nowhere => Self::At(Some(root)),
            Self::At(sized) => Self::At(sized.and_then(step)),
        }
    }

    fn size(self) -> Option<Size> {
        match self {
            Self::At(Some(sized)) => Some(Size { least: 0, most: sized.most }),
            _ => None,
        }
    }
}

/// Of a type whose values are all of one size.
fn scalar(ty: &Type) -> Option<Size> {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            Some(Size::exactly(1))
        }
        Type::Optional(of) => scalar(of),
        _ => None,
    }
}

impl<'s> Estimate<'s> {
    /// Of what is made, at that cost.
    fn made(cost: u64, ty: &Type) -> Self {
        Self { cost, place: Place::Nowhere, size: scalar(ty), entries: None }
    }

    fn size(&self) -> Size {
        self.size.unwrap_or(Size::UNKNOWN)
    }

    /// Of what is read from `place`, at that cost.
    fn read(cost: u64, place: Place<'s>, ty: &Type) -> Self {
        Self { cost, place, size: place.size().or_else(|| scalar(ty)), entries: None }
    }
}

impl<'s> Estimator<'s> {
    fn node(&mut self, node: &Node) -> Estimate<'s> {
        let ty = &node.ty;
        match &node.kind {
            Kind::Literal(value) => Estimate { size: of_literal(value), ..Estimate::made(0, ty) },
            Kind::Variable(_) => Estimate::read(1, Place::At(Some(self.root)), ty),
            Kind::Composed(_) => Estimate::made(2, ty),
            Kind::Local(place) => self.local(*place, ty),
            Kind::Select(of, field) => self.select(of, field, ty),
            Kind::OptionalSelect(of, _) => {
                let cost = self.node(of).cost;
                Estimate::made(cost.saturating_add(1), ty)
            }
            Kind::Has(of, _) => Estimate::made(self.node(of).cost, ty),
            Kind::Index(both) => self.index(both, ty),
            Kind::OptionalIndex(both) => {
                let costs = self.node(&both[0]).cost.saturating_add(self.node(&both[1]).cost);
                Estimate::made(costs.saturating_add(1), ty)
            }
            Kind::And(both) | Kind::Or(both) => {
                let costs = self.node(&both[0]).cost.saturating_add(self.node(&both[1]).cost);
                Estimate::made(costs, ty)
            }
            Kind::Choice(parts) => self.choice(parts),
            Kind::NotStrictlyFalse(of) => {
                let cost = self.node(of).cost;
                Estimate::made(cost.saturating_add(1), ty)
            }
            Kind::Call(call) => self.call(call, ty),
            Kind::List(items) => self.list(items, ty),
            Kind::Map(entries) => self.map(entries, ty),
            Kind::Struct(_, fields) => {
                let costs = fields.iter().map(|(_, value, _)| self.node(value).cost);
                let cost = costs.fold(cost::STRUCT, u64::saturating_add);
                Estimate::made(cost, ty)
            }
            Kind::Fold(fold) => self.fold(fold, ty),
            Kind::Append(place, added) => {
                let gathered = self.local(*place, &added.ty);
                let added = self.node(added);
                let cost = gathered.cost.saturating_add(added.cost).saturating_add(1);
                Estimate {
                    cost,
                    place: Place::Nowhere,
                    size: Some(gathered.size().add(added.size())),
                    entries: Entries::union(added.entries, gathered.entries),
                }
            }
            Kind::Insert(_, args) => {
                let costs = args.iter().map(|arg| self.node(arg).cost);
                Estimate::made(costs.fold(2, u64::saturating_add), ty)
            }
        }
    }

    fn local(&self, place: usize, ty: &Type) -> Estimate<'s> {
        let Some(bound) = self.bound.get(place) else { return Estimate::made(1, ty) };
        let read = Estimate::read(1, bound.place, ty);
        Estimate { size: read.size.or(bound.size), entries: bound.entries, ..read }
    }

    fn select(&mut self, of: &Node, field: &str, ty: &Type) -> Estimate<'s> {
        let operand = self.node(of);
        let counts = matches!(of.ty, Type::Map(_) | Type::Object(_) | Type::Param(_));
        let place = operand.place.below(self.root, |sized| sized.fields.get(field));
        Estimate::read(operand.cost.saturating_add(u64::from(counts)), place, ty)
    }

    fn index(&mut self, [of, at]: &[Node; 2], ty: &Type) -> Estimate<'s> {
        let (of, at) = (self.node(of), self.node(at));
        let place = of.place.below(self.root, |sized| sized.element.as_deref());
        let read = Estimate::read(0, place, ty);
        Estimate {
            cost: of.cost.saturating_add(at.cost).saturating_add(1),
            size: of.entries.map(|entries| entries.value).or(read.size),
            ..read
        }
    }

    fn choice(&mut self, [condition, yes, no]: &[Node; 3]) -> Estimate<'s> {
        let (condition, yes, no) = (self.node(condition), self.node(yes), self.node(no));
        Estimate {
            cost: condition.cost.saturating_add(yes.cost.max(no.cost)),
            place: Place::Nowhere,
            size: Some(yes.size().union(no.size())),
            entries: Entries::union(yes.entries, no.entries),
        }
    }

    fn call(&mut self, call: &Call, ty: &Type) -> Estimate<'s> {
        let args: Vec<Estimate<'s>> = call.args.iter().map(|arg| self.node(arg)).collect();
        let costs = args.iter().fold(0, |sum: u64, arg| sum.saturating_add(arg.cost));
        if let ("dyn", [only]) = (call.name, args.as_slice()) {
            return Estimate { cost: costs.saturating_add(1), ..*only };
        }
        let (mut most, mut size) = (0, None);
        for overload in &call.overloads {
            let (cost, result) = calls::of(overload, call, &args, self.root);
            most = most.max(cost);
            size = match (size, result) {
                (Some(a), Some(b)) => Some(Size::union(a, b)),
                (a, b) => a.or(b),
            };
        }
        let entries = match (call.name, args.as_slice()) {
            ("_+_", [a, b]) => Entries::union(b.entries, a.entries),
            _ => None,
        };
        Estimate {
            cost: costs.saturating_add(most),
            place: Place::Nowhere,
            size: size.or_else(|| scalar(ty)),
            entries,
        }
    }

    fn list(&mut self, items: &[(Node, bool)], ty: &Type) -> Estimate<'s> {
        let mut estimate = Estimate::made(cost::LIST, ty);
        let mut value = None;
        for (item, _) in items {
            let item = self.node(item);
            estimate.cost = estimate.cost.saturating_add(item.cost);
            value = Some(value.map_or(item.size(), |value: Size| value.union(item.size())));
        }
        let value = value.unwrap_or(Size::exactly(0));
        estimate.size = Some(Size::exactly(items.len() as u64));
        estimate.entries = Some(Entries { is_list: true, key: Size::exactly(1), value });
        estimate
    }

    fn map(&mut self, entries: &[(Node, Node, bool)], ty: &Type) -> Estimate<'s> {
        let mut estimate = Estimate::made(cost::MAP, ty);
        let mut sizes = None;
        for (key, value, _) in entries {
            let (key, value) = (self.node(key), self.node(value));
            estimate.cost = estimate.cost.saturating_add(key.cost).saturating_add(value.cost);
            let (key, value) = (key.size(), value.size());
            sizes = Some(match sizes {
                None => (key, value),
                Some((keys, values)) => (Size::union(keys, key), Size::union(values, value)),
            });
        }
        let (key, value) = sizes.unwrap_or((Size::exactly(0), Size::exactly(0)));
        estimate.size = Some(Size::exactly(entries.len() as u64));
        estimate.entries = Some(Entries { is_list: false, key, value });
        estimate
    }

    fn fold(&mut self, fold: &Fold, ty: &Type) -> Estimate<'s> {
        let range = self.node(&fold.range);
        let init = self.node(&fold.init);
        let before = range.cost.saturating_add(init.cost);
        let place = self.bound.len();
        let Estimate { place: from, size, entries, .. } = init;
        self.bound.push(Bound { place: from, size, entries });
        if is_binding(fold) {
            let result = self.node(&fold.result);
            self.bound.truncate(place);
            return Estimate { cost: before.saturating_add(result.cost), ..result };
        }
        self.bind(fold, &range);
        let turn = self.node(&fold.condition).cost;
        let step = self.node(&fold.step);
        self.bound.truncate(place.saturating_add(1));
        let result = self.node(&fold.result).cost;
        self.bound.truncate(place);
        let turns = range.size().most.saturating_mul(turn.saturating_add(step.cost));
        let is_container = matches!(fold.init.kind, Kind::List(_) | Kind::Map(_));
        let size = match &fold.init.kind {
            Kind::Literal(_) => init.size,
            _ if is_container => Some(range.size()),
            _ => scalar(ty),
        };
        Estimate {
            cost: before.saturating_add(result).saturating_add(turns),
            place: Place::Nowhere,
            size,
            entries: step.entries.filter(|_| is_container),
        }
    }

    /// What the variables of a comprehension are bound to in each turn.
    fn bind(&mut self, fold: &Fold, range: &Estimate<'s>) {
        let is_list = match range.entries {
            Some(entries) => entries.is_list,
            None => matches!(fold.range.ty, Type::List(_)),
        };
        let root = self.root;
        let key = |place: Place<'s>| match is_list {
            true => place.below(root, |_| None),
            false => place.below(root, |sized| sized.key.as_deref()),
        };
        let values = Bound {
            place: range.place.below(root, |sized| sized.element.as_deref()),
            size: range.entries.map(|entries| entries.value),
            entries: None,
        };
        let keys = Bound {
            place: key(range.place),
            size: range.entries.map(|entries| entries.key),
            entries: None,
        };
        match (fold.is_pair, is_list) {
            (true, _) => self.bound.extend([keys, values]),
            (false, true) => self.bound.push(values),
            (false, false) => self.bound.push(keys),
        }
    }
}

/// Whether a comprehension only gives a name to a value.
fn is_binding(fold: &Fold) -> bool {
    let is_empty = matches!(&fold.range.kind, Kind::List(items) if items.is_empty());
    is_empty && matches!(fold.condition.kind, Kind::Literal(Value::Bool(false)))
}

fn of_literal(value: &Value) -> Option<Size> {
    Some(Size::exactly(match value {
        Value::Text(text) => text.chars().count() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::Bool(_)
        | Value::Double(_)
        | Value::Duration(_)
        | Value::Int(_)
        | Value::Timestamp(_)
        | Value::Uint(_)
        | Value::Null => 1,
        _ => return None,
    }))
}
