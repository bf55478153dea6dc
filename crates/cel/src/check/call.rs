//! Calls: operators that have rules of their own, and functions by their signatures.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use coracle_api::text::spans;

use super::{Checker, qualified};
use crate::function::Overload;
use crate::library::ESCAPE_KEY;
use crate::node::{Call, Kind, Node};
use crate::table;
use crate::text::time;
use crate::types::Type;
use crate::value::{Text, Value};

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &CallExpr) -> Node {
        if let Some(node) = self.special(id, call) {
            return node;
        }
        let Some(target) = call.target.as_deref() else {
            return self.function(id, &call.func_name, None, &call.args);
        };
        // `sets.contains(a, b)` is a function whose name has a dot.
        if let Some(prefix) = name_of(target).filter(|name| !self.is_bound(name)) {
            let name = format!("{prefix}.{}", call.func_name);
            if table::named(&name).is_some() {
                return self.function(id, &name, None, &call.args);
            }
        }
        self.function(id, &call.func_name, Some(target), &call.args)
    }

    fn is_bound(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| local == name)
            || self.variables.iter().any(|(variable, _)| variable == name)
    }

    /// Operators that are no functions.
    fn special(&mut self, id: u64, call: &CallExpr) -> Option<Node> {
        if call.target.is_some() {
            return None;
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
                Some(self.logical(id, &call.func_name, a, b))
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                Some(self.choice(id, condition, yes, no))
            }
            (operators::NOT_STRICTLY_FALSE, [it]) => {
                let node = self.node(it);
                Some(Node { kind: Kind::NotStrictlyFalse(Box::new(node)), ty: Type::Bool })
            }
            (operators::INDEX, [of, at]) => Some(self.index(id, of, at, false)),
            (operators::OPT_INDEX, [of, at]) => Some(self.index(id, of, at, true)),
            (operators::OPT_SELECT, [of, at]) => Some(self.optional_select(id, of, at)),
            _ => None,
        }
    }

    fn no_match(&mut self, id: u64, name: &str, types: &[Type], is_member: bool) -> Node {
        let shown: Vec<String> = types.iter().map(|ty| self.shown(ty)).collect();
        let shown = match shown.split_first() {
            Some((receiver, rest)) if is_member => format!("{receiver}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.wrong(id, format!("found no matching overload for '{name}' applied to '{shown}'"))
    }

    fn logical(&mut self, id: u64, name: &str, a: &IdedExpr, b: &IdedExpr) -> Node {
        let both = [self.node(a), self.node(b)];
        let types = [both[0].ty.clone(), both[1].ty.clone()];
        if !types.iter().all(|ty| self.types.fits(ty, &Type::Bool)) {
            return self.no_match(id, name, &types, false);
        }
        let both = Box::new(both);
        let kind = if name == operators::LOGICAL_AND { Kind::And(both) } else { Kind::Or(both) };
        Node { kind, ty: Type::Bool }
    }

    fn choice(&mut self, id: u64, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Node {
        let nodes = [self.node(condition), self.node(yes), self.node(no)];
        let types = [nodes[0].ty.clone(), nodes[1].ty.clone(), nodes[2].ty.clone()];
        let joined = self.types.joined(&types[1], &types[2]);
        match joined.filter(|_| self.types.fits(&types[0], &Type::Bool)) {
            Some(ty) => Node { kind: Kind::Choice(Box::new(nodes)), ty },
            None => self.no_match(id, operators::CONDITIONAL, &types, false),
        }
    }

    fn index(&mut self, id: u64, of: &IdedExpr, at: &IdedExpr, is_optional: bool) -> Node {
        let both = [self.node(of), self.node(at)];
        let types = [both[0].ty.clone(), both[1].ty.clone()];
        let (inner, of_optional) = match self.types.shallow(&types[0]) {
            Type::Optional(of) => (self.types.shallow(&of), true),
            other => (other, false),
        };
        let found = match &inner {
            Type::List(list) => {
                self.types.fits(&types[1], &Type::Int).then(|| list.element.clone())
            }
            Type::Map(of) => self.types.fits(&types[1], &of.0).then(|| of.1.clone()),
            Type::Error => Some(Type::Error),
            Type::Dyn | Type::Unknown(_) | Type::Param(_) => Some(Type::Dyn),
            _ => None,
        };
        let name = if is_optional { operators::OPT_INDEX } else { operators::INDEX };
        let Some(ty) = found else { return self.no_match(id, name, &types, false) };
        let both = Box::new(both);
        match is_optional || of_optional {
            false => Node { kind: Kind::Index(both), ty },
            true if is_optional => Node { kind: Kind::OptionalIndex(both), ty: Type::optional(ty) },
            true => Node { kind: Kind::Index(both), ty: Type::optional(ty) },
        }
    }

    fn optional_select(&mut self, id: u64, of: &IdedExpr, at: &IdedExpr) -> Node {
        let Expr::Literal(LiteralValue::String(field)) = &at.expr else {
            return self.wrong(at.id, "unsupported optional field selection");
        };
        if let Some(node) = self.composed(id, of, field.inner()) {
            let overloads = table::named("optional.of").unwrap_or_default().iter().collect();
            let ty = Type::optional(node.ty.clone());
            let call = Call { name: "optional.of", overloads, args: vec![node] };
            return Node { kind: Kind::Call(call), ty };
        }
        let operand = self.node(of);
        let inner = match self.types.shallow(&operand.ty) {
            Type::Optional(of) => self.types.shallow(&of),
            other => other,
        };
        let ty = Type::optional(self.field(id, &inner, field.inner()));
        Node { kind: Kind::OptionalSelect(Box::new(operand), field.inner().into()), ty }
    }

    fn function(
        &mut self,
        id: u64,
        name: &str,
        target: Option<&IdedExpr>,
        args: &[IdedExpr],
    ) -> Node {
        let all: Vec<&IdedExpr> = target.into_iter().chain(args).collect();
        let nodes: Vec<Node> = all.iter().map(|expr| self.node(expr)).collect();
        let is_known = self.environment.patches || name != ESCAPE_KEY;
        let Some(overloads) = table::named(name).filter(|_| is_known) else {
            return self.wrong(id, format!("undeclared reference to '{name}' (in container '')"));
        };
        let types: Vec<Type> = nodes.iter().map(|node| node.ty.clone()).collect();
        let mut matching = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads {
            if overload.is_member != target.is_some() || overload.parameters.len() != types.len() {
                continue;
            }
            let Some(ty) = self.apply(overload, &types) else { continue };
            matching.push(overload);
            result = Some(match result {
                None => ty,
                Some(known) if self.types.settled(&known) == self.types.settled(&ty) => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(ty) = result else { return self.no_match(id, name, &types, target.is_some()) };
        let name = overloads.first().map_or("", |overload| overload.name);
        self.literals(name, &all, &nodes);
        Node { kind: Kind::Call(Call { name, overloads: matching, args: nodes }), ty }
    }

    /// What `overload` comes to with arguments of `types`, if it takes them.
    fn apply(&mut self, overload: &Overload, types: &[Type]) -> Option<Type> {
        let mark = self.types.mark();
        let unknowns = [self.types.fresh(), self.types.fresh()];
        for (ty, parameter) in types.iter().zip(&overload.parameters) {
            let parameter = instance(parameter, &unknowns);
            if !self.types.fits(ty, &parameter) {
                self.types.go_back(&mark);
                return None;
            }
        }
        Some(instance(&overload.result, &unknowns))
    }

    /// Literals that can never be read are mistakes; regular expressions are kept.
    fn literals(&mut self, name: &str, exprs: &[&IdedExpr], nodes: &[Node]) {
        let place = match name {
            "matches" | "find" | "findAll" => 1,
            "duration" | "timestamp" => 0,
            _ => return,
        };
        let (Some(expr), Some(node)) = (exprs.get(place), nodes.get(place)) else { return };
        let Kind::Literal(Value::Text(Text::Made(text))) = &node.kind else { return };
        let is_right = match name {
            "duration" => spans::nanoseconds(text).is_some(),
            "timestamp" => time::parse_instant(text).is_some(),
            _ => self.patterns.learn(text).is_ok(),
        };
        if !is_right {
            self.mistake(expr.id, format!("invalid {name} argument"));
        }
    }
}

/// The name that an identifier, or a chain of fields on one, spells.
fn name_of(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(_) => qualified(expr),
        _ => None,
    }
}

/// `ty` with unknowns for its parameters.
fn instance(ty: &Type, unknowns: &[Type; 2]) -> Type {
    match ty {
        Type::Param('A') => unknowns[0].clone(),
        Type::Param(_) => unknowns[1].clone(),
        Type::List(list) => Type::list(instance(&list.element, unknowns)),
        Type::Map(of) => Type::map(instance(&of.0, unknowns), instance(&of.1, unknowns)),
        Type::Optional(of) => Type::optional(instance(of, unknowns)),
        Type::Type(of) => Type::Type(std::sync::Arc::new(instance(of, unknowns))),
        other => other.clone(),
    }
}
