//! What types fit, and what is found out of those that are not known yet.

use std::sync::Arc;

use crate::types::{ListType, Type};

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Unifier {
    /// Of each unknown, what it is.
    known: Vec<Option<Type>>,
    /// Unknowns in the order in which they were found out, to take them back.
    trail: Vec<usize>,
}

/// A state to go back to.
pub(super) struct Mark {
    unknowns: usize,
    trail: usize,
}

impl Unifier {
    pub(super) fn fresh(&mut self) -> Type {
        self.known.push(None);
        Type::Unknown(self.known.len() - 1)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { unknowns: self.known.len(), trail: self.trail.len() }
    }

    pub(super) fn go_back(&mut self, mark: &Mark) {
        for index in self.trail.drain(mark.trail..) {
            self.known[index] = None;
        }
        self.known.truncate(mark.unknowns);
    }

    /// What `ty` is, as far as that is known, without what it holds.
    pub(super) fn shallow(&self, ty: &Type) -> Type {
        let mut ty = ty;
        while let Type::Unknown(index) = ty {
            match self.known.get(*index) {
                Some(Some(known)) => ty = known,
                _ => break,
            }
        }
        ty.clone()
    }

    /// What `ty` is with all that it holds; what is not known is dyn.
    pub(super) fn settled(&self, ty: &Type) -> Type {
        match self.shallow(ty) {
            Type::Unknown(_) | Type::Param(_) => Type::Dyn,
            Type::List(list) => Type::List(Arc::new(ListType {
                element: self.settled(&list.element),
                identity: list.identity.clone(),
            })),
            Type::Map(of) => Type::map(self.settled(&of.0), self.settled(&of.1)),
            Type::Optional(of) => Type::optional(self.settled(&of)),
            Type::Type(of) => Type::Type(Arc::new(self.settled(&of))),
            other => other,
        }
    }

    fn holds(&self, ty: &Type, unknown: usize) -> bool {
        match self.shallow(ty) {
            Type::Unknown(index) => index == unknown,
            Type::List(list) => self.holds(&list.element, unknown),
            Type::Map(of) => self.holds(&of.0, unknown) || self.holds(&of.1, unknown),
            Type::Optional(of) | Type::Type(of) => self.holds(&of, unknown),
            _ => false,
        }
    }

    fn learn(&mut self, unknown: usize, ty: &Type) -> bool {
        if self.holds(ty, unknown) {
            return false;
        }
        self.known[unknown] = Some(ty.clone());
        self.trail.push(unknown);
        true
    }

    /// Whether a value of the type `from` may stand where `to` is wanted.
    pub(super) fn fits(&mut self, from: &Type, to: &Type) -> bool {
        let (from, to) = (self.shallow(from), self.shallow(to));
        match (&from, &to) {
            (Type::Unknown(a), Type::Unknown(b)) if a == b => true,
            (_, Type::Unknown(unknown)) => self.learn(*unknown, &from),
            (Type::Unknown(unknown), _) => self.learn(*unknown, &to),
            _ if from.is_dyn() || to.is_dyn() => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Object(_)
                    | Type::Duration
                    | Type::Timestamp
                    | Type::Optional(_)
                    | Type::Opaque(_)
            ),
            (Type::List(a), Type::List(b)) => self.fits(&a.element, &b.element),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    /// The type of both, if there is one; undone if there is none.
    pub(super) fn joined(&mut self, a: &Type, b: &Type) -> Option<Type> {
        let mark = self.mark();
        if !self.fits(b, a) {
            self.go_back(&mark);
            return None;
        }
        let (a, b) = (self.shallow(a), self.shallow(b));
        Some(if b.is_dyn() || a == Type::Null { b } else { a })
    }
}
