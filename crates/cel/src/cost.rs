//! What a call costs: the numbers of cel-go's `interpreter/runtimecost.go` and of Kubernetes'
//! `library/cost.go`. They are part of the API: they decide which expressions run.

use crate::value::Value;

/// What one expression may cost: upstream's `PerCallLimit`.
pub(crate) const EXPRESSION_LIMIT: u64 = 1_000_000;
/// What is told when all of an object's or a webhook's expressions together cost too much.
pub(crate) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Of a list literal.
pub(crate) const LIST: u64 = 10;
/// Of a map literal.
pub(crate) const MAP: u64 = 30;
/// Of an object.
pub(crate) const STRUCT: u64 = 40;
/// Of asking what somebody may do: so much that no expression can ask three times.
pub(crate) const AUTHORIZE: u64 = 350_000;
/// Requirements that a character of a selector may begin.
const REQUIREMENTS: f64 = 0.5;
/// Of going through a character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// Of a character of a regular expression.
pub(crate) const PATTERN: f64 = 0.25;

/// How the cost of a function follows from its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The same always.
    One,
    /// Going through the receiver.
    Receiver,
    /// Going through the receiver, and making as much again.
    ReceiverTwice,
    /// Going through what is made, twice.
    ResultTwice,
    /// Going through the shorter of two.
    Shorter,
    /// Going through both.
    Both,
    /// The length of the list that is searched.
    Searched,
    /// Going through the elements of a list, and each of them.
    Elements,
    /// A regular expression on a text.
    Pattern,
    /// A text in a text.
    Contained,
    /// Every element with every element.
    Product,
    /// The same, both ways.
    ProductTwice,
    /// An address in a range.
    RangeIp,
    /// An address in a range, as text.
    RangeIpText,
    /// A range in a range.
    RangeRange,
    /// A range in a range, as text.
    RangeRangeText,
    /// A text by a named format.
    Format,
    /// Asking what somebody may do.
    Authorize,
    /// Reading a selector.
    Selector,
}

fn traversal(size: u64) -> u64 {
    scaled(size, TRAVERSAL)
}

/// `size` times `factor`, rounded up.
pub(crate) fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// Of going through all of `value`.
fn whole(value: &Value) -> u64 {
    match value {
        Value::Text(_) | Value::Bytes(_) => traversal(value.size()),
        Value::List(list) => list.iter().map(|item| whole(&item)).fold(0, u64::saturating_add),
        Value::Map(map) => {
            let entry = |key| match map.get(&key) {
                Some(value) => whole(&key.value()).saturating_add(whole(&value)),
                None => 0,
            };
            map.keys().into_iter().map(entry).fold(0, u64::saturating_add)
        }
        _ => 1,
    }
}

impl Cost {
    /// Of a call with `args` that came to `result`.
    pub(crate) fn of(self, args: &[Value], result: Option<&Value>) -> u64 {
        let size = |index: usize| args.get(index).map_or(1, Value::size);
        match self {
            Self::One => 1,
            Self::Receiver => traversal(size(0)),
            Self::ReceiverTwice => scaled(size(0), 2.0 * TRAVERSAL),
            Self::ResultTwice => scaled(result.map_or(1, Value::size), 2.0 * TRAVERSAL),
            Self::Shorter => traversal(size(0).min(size(1))),
            Self::Both => traversal(size(0).saturating_add(size(1))),
            Self::Searched => size(1),
            Self::Elements => args.first().map_or(0, whole),
            Self::Pattern => {
                let text = traversal(size(0).saturating_add(1));
                text.saturating_mul(scaled(size(1), PATTERN))
            }
            Self::Contained => traversal(size(0)).saturating_mul(traversal(size(1))),
            Self::Product => size(0).saturating_mul(size(1)).saturating_add(1),
            Self::ProductTwice => {
                size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1)
            }
            Self::RangeIp => traversal(2 * size(0)),
            Self::RangeIpText => traversal(2 * size(0)).saturating_add(traversal(size(1))),
            Self::RangeRange => traversal(2 * size(0)) + traversal(size(0)) + 1,
            Self::RangeRangeText => {
                (traversal(2 * size(0)) + traversal(size(0)) + 1).saturating_add(traversal(size(1)))
            }
            Self::Authorize => AUTHORIZE,
            Self::Selector => {
                let length = size(1);
                let requirements = scaled(length, REQUIREMENTS);
                LIST.saturating_add(traversal(length))
                    .saturating_add(requirements.saturating_mul(LIST + STRUCT))
            }
            Self::Format => {
                let Some(Value::Format(format)) = args.first() else { return 1 };
                let text = traversal(size(1).saturating_add(1));
                text.saturating_mul(scaled(format.pattern_size, PATTERN))
            }
        }
    }
}
