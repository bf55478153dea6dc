//! Where a value stands in its object, told only when something is wrong with it.

use std::fmt;

/// A place.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Key(of, key) => write!(f, "{of}[{key}]"),
            Self::Index(of, index) => write!(f, "{of}[{index}]"),
        }
    }
}

impl Path<'_> {
    /// The place as errors show it, or one below: `.a.b`.
    pub(super) fn shown(&self, below: &str) -> String {
        let mut shown = format!("{self}{below}");
        if matches!(self, Self::Root) {
            shown = shown.trim_start_matches('.').to_owned();
        }
        if shown.is_empty() { "<nil>".to_owned() } else { shown }
    }
}
