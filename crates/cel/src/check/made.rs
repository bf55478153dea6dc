//! Objects that an expression makes, and the variables of a policy.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, StructExpr};

use super::Checker;
use crate::node::{Kind, Node};
use crate::types::Type;

/// What a JSON patch is made of.
pub(crate) const JSON_PATCH: &str = "JSONPatch";
/// What a configuration to apply is made of; what is in it is called by its path: `Object.spec`.
pub(crate) const OBJECT: &str = "Object";
/// What the variables of a policy are called.
const VARIABLES: &str = "variables";

impl Checker<'_> {
    pub(super) fn made(&mut self, id: u64, made: &StructExpr) -> Node {
        let name = made.type_name.as_str();
        let is_object =
            name.strip_prefix(OBJECT).is_some_and(|it| it.is_empty() || it.starts_with('.'));
        if !self.environment.patches || !(is_object || name == JSON_PATCH) {
            return self.wrong(id, format!("undeclared reference to '{name}' (in container '')"));
        }
        let mut fields = Vec::with_capacity(made.entries.len());
        for entry in &made.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let node = self.node(&field.value);
            let ty = self.entry_type(field.value.id, &node.ty, field.optional);
            let wanted = match field.field.as_str() {
                "op" | "from" | "path" if !is_object => Type::String,
                "value" => Type::Dyn,
                _ if is_object => Type::Dyn,
                other => self.wrong(entry.id, format!("undefined field '{other}'")).ty,
            };
            if !self.types.fits(&ty, &wanted) {
                let (wanted, found) = (self.shown(&wanted), self.shown(&ty));
                let name = &field.field;
                let why = format!(
                    "expected type of field '{name}' is '{wanted}' but provided type is '{found}'"
                );
                self.mistake(entry.id, why);
            }
            fields.push((Arc::from(field.field.as_str()), node, field.optional));
        }
        Node { kind: Kind::Struct(name.into(), fields), ty: Type::named(name) }
    }

    /// A variable of a policy, if `operand` is all of them.
    pub(super) fn composed(&mut self, id: u64, operand: &IdedExpr, field: &str) -> Option<Node> {
        let Expr::Ident(name) = &operand.expr else { return None };
        let is_hidden = self.locals.iter().any(|(local, _)| local == name);
        if !self.environment.composes || is_hidden || name.trim_start_matches('.') != VARIABLES {
            return None;
        }
        let mut all = self.environment.composed.iter().enumerate();
        let Some((place, variable)) = all.rfind(|(_, it)| it.name == field) else {
            return Some(self.wrong(id, format!("undefined field '{field}'")));
        };
        self.composed_depth = self.composed_depth.max(variable.depth);
        Some(Node { kind: Kind::Composed(place), ty: variable.ty.clone() })
    }
}
