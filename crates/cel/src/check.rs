//! Types, names and functions of a tree: what it means, or what is wrong with it, as cel-go's checker
//! says it.

mod call;
mod fold;
mod made;
mod settle;
mod unify;

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr};

use self::unify::Unifier;
use crate::node::{Kind, Node};
use crate::parse::Tree;
use crate::pattern::Patterns;
use crate::types::Type;
use crate::value::Value;
use crate::{Environment, Issue};

/// Mistakes that are told at most.
const MAX_ISSUES: usize = 100;
/// How deep variables that name one another may be in all: an evaluation goes that deep.
const MAX_COMPOSED: usize = 240;

/// A tree that makes sense.
pub(crate) struct Checked {
    pub(crate) root: Node,
    pub(crate) result: Type,
    pub(crate) patterns: Patterns,
    /// Places of the variables that it names.
    pub(crate) used: Vec<usize>,
    /// Steps to its deepest leaf, those of the variables of a policy that it names among them.
    pub(crate) depth: usize,
}

/// # Errors
/// Every mistake of `tree`.
pub(crate) fn check(
    source: &str,
    tree: &Tree,
    environment: &Environment,
) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        tree,
        variables: &environment.variables,
        environment,
        composed_depth: 0,
        locals: Vec::new(),
        types: Unifier::default(),
        patterns: Patterns::default(),
        used: Vec::new(),
        mistakes: Vec::new(),
    };
    let mut root = checker.node(&tree.root);
    let result = checker.types.settled(&root.ty);
    let depth = tree.depth.saturating_add(checker.composed_depth);
    if depth > MAX_COMPOSED {
        let why = "expressions of variables that name one another are too deep";
        checker.mistake(tree.root.id, why);
    }
    let Checker { mut mistakes, patterns, mut used, types, .. } = checker;
    if mistakes.is_empty() {
        settle::all(&types, &mut root);
        used.sort_unstable();
        used.dedup();
        return Ok(Checked { root, result, patterns, used, depth });
    }
    mistakes.sort_by_key(|(offset, _)| *offset);
    mistakes.truncate(MAX_ISSUES);
    Err(mistakes.into_iter().map(|(at, message)| Issue::at(source, at, message)).collect())
}

struct Checker<'a> {
    tree: &'a Tree,
    variables: &'a [(String, Type)],
    environment: &'a Environment,
    /// How deep the deepest variable of a policy is that was named.
    composed_depth: usize,
    /// What the comprehensions around have bound.
    locals: Vec<(String, Type)>,
    types: Unifier,
    patterns: Patterns,
    used: Vec<usize>,
    mistakes: Vec<(usize, String)>,
}

impl Checker<'_> {
    fn mistake(&mut self, expr: u64, message: impl Into<String>) {
        self.mistakes.push((self.tree.offset(expr), message.into()));
    }

    /// `ty` as errors show it.
    fn shown(&self, ty: &Type) -> String {
        self.types.settled(ty).to_string()
    }

    /// A mistake, and what stands for what is wrong.
    fn wrong(&mut self, expr: u64, message: impl Into<String>) -> Node {
        self.mistake(expr, message);
        Node { kind: Kind::Literal(Value::Null), ty: Type::Error }
    }

    fn node(&mut self, expr: &IdedExpr) -> Node {
        match &expr.expr {
            Expr::Literal(literal) => literal_node(literal),
            Expr::Ident(name) => self.name(expr.id, name),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(fold) => self.fold(expr.id, fold),
            Expr::Struct(made) => self.made(expr.id, made),
            Expr::Unspecified => self.wrong(expr.id, "unspecified expression"),
        }
    }

    /// What `name` stands for, if anything.
    fn named(&mut self, name: &str) -> Option<Node> {
        let is_local = |(local, _): &(String, Type)| local == name;
        if let Some(place) = self.locals.iter().rposition(is_local) {
            let ty = self.locals[place].1.clone();
            return Some(Node { kind: Kind::Local(place), ty });
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some(place) = self.variables.iter().position(|(variable, _)| variable == name) {
            self.used.push(place);
            let ty = self.variables[place].1.clone();
            return Some(Node { kind: Kind::Variable(place), ty });
        }
        let ty = type_named(name)?;
        let literal = Value::Type(ty.name().into());
        Some(Node { kind: Kind::Literal(literal), ty: Type::Type(Arc::new(ty)) })
    }

    fn name(&mut self, id: u64, name: &str) -> Node {
        match self.named(name) {
            Some(node) => node,
            None => self.wrong(id, format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Node {
        if let Some(name) = qualified(expr).filter(|_| !select.test)
            && let Some(node) = self.dotted(&name)
        {
            return node;
        }
        if let Some(node) = self.composed(expr.id, &select.operand, &select.field) {
            if select.test {
                return Node { kind: Kind::Literal(Value::Bool(true)), ty: Type::Bool };
            }
            return node;
        }
        let operand = self.node(&select.operand);
        let field: Arc<str> = select.field.as_str().into();
        let (operand_type, is_optional) = match self.types.shallow(&operand.ty) {
            Type::Optional(of) => (self.types.shallow(&of), true),
            other => (other, false),
        };
        let ty = self.field(expr.id, &operand_type, &field);
        if select.test {
            return Node { kind: Kind::Has(Box::new(operand), field), ty: Type::Bool };
        }
        let ty = if is_optional { Type::optional(ty) } else { ty };
        Node { kind: Kind::Select(Box::new(operand), field), ty }
    }

    /// A name with dots in it: of a variable, or of a type.
    fn dotted(&mut self, name: &str) -> Option<Node> {
        let root = name.split('.').next().unwrap_or_default();
        let is_hidden = self.locals.iter().any(|(local, _)| local == root);
        if is_hidden { None } else { self.named(name) }
    }

    /// The type of the field `field` of a value of the type `of`.
    fn field(&mut self, id: u64, of: &Type, field: &str) -> Type {
        match of {
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.ty.clone(),
                // Nothing is known of what an expression makes.
                None if self.environment.patches && object.fields.is_empty() => Type::Dyn,
                None => self.wrong(id, format!("undefined field '{field}'")).ty,
            },
            Type::Map(of) => of.1.clone(),
            Type::Error => Type::Error,
            Type::Dyn | Type::Unknown(_) | Type::Param(_) => Type::Dyn,
            other => {
                let shown = self.shown(other);
                self.wrong(id, format!("type '{shown}' does not support field selection")).ty
            }
        }
    }

    fn list(&mut self, list: &ListExpr) -> Node {
        let mut element: Option<Type> = None;
        let mut items = Vec::with_capacity(list.elements.len());
        // Places of the optional ones are in order.
        let mut optional = list.optional_indices.iter().peekable();
        for (index, expr) in list.elements.iter().enumerate() {
            let node = self.node(expr);
            let is_optional = optional.next_if(|at| **at == index).is_some();
            let ty = self.entry_type(expr.id, &node.ty, is_optional);
            element = Some(self.join(expr.id, element, ty));
            items.push((node, is_optional));
        }
        let element = element.unwrap_or_else(|| self.types.fresh());
        Node { kind: Kind::List(items), ty: Type::list(element) }
    }

    /// What an element brings; an optional one what it holds.
    fn entry_type(&mut self, id: u64, ty: &Type, is_optional: bool) -> Type {
        if !is_optional {
            return ty.clone();
        }
        match self.types.shallow(ty) {
            Type::Optional(of) => (*of).clone(),
            other if other.is_dyn() => Type::Dyn,
            other => {
                let found = self.shown(&other);
                let why = format!("expected type 'optional_type({found})' but found '{found}'");
                self.wrong(id, why).ty
            }
        }
    }

    /// The type of all elements so far; they must be of one.
    fn join(&mut self, id: u64, so_far: Option<Type>, ty: Type) -> Type {
        let Some(so_far) = so_far else { return ty };
        if let Some(joined) = self.types.joined(&so_far, &ty) {
            return joined;
        }
        let (wanted, found) = (self.shown(&so_far), self.shown(&ty));
        self.mistake(id, format!("expected type '{wanted}' but found '{found}'"));
        so_far
    }

    fn map(&mut self, map: &MapExpr) -> Node {
        let (mut key_type, mut value_type) = (None, None);
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(it) = &entry.expr else { continue };
            let (key, value) = (self.node(&it.key), self.node(&it.value));
            if !matches!(
                self.types.shallow(&key.ty),
                Type::Bool | Type::Int | Type::Uint | Type::String | Type::Dyn | Type::Error
            ) {
                let shown = self.shown(&key.ty);
                self.mistake(it.key.id, format!("unsupported key type: {shown}"));
            }
            key_type = Some(self.join(it.key.id, key_type, key.ty.clone()));
            let ty = self.entry_type(it.value.id, &value.ty, it.optional);
            value_type = Some(self.join(it.value.id, value_type, ty));
            entries.push((key, value, it.optional));
        }
        let key_type = key_type.unwrap_or_else(|| self.types.fresh());
        let value_type = value_type.unwrap_or_else(|| self.types.fresh());
        Node { kind: Kind::Map(entries), ty: Type::map(key_type, value_type) }
    }
}

fn literal_node(literal: &LiteralValue) -> Node {
    let (value, ty) = match literal {
        LiteralValue::Boolean(it) => (Value::Bool(*it.inner()), Type::Bool),
        LiteralValue::Bytes(it) => (Value::Bytes(it.inner().into()), Type::Bytes),
        LiteralValue::Double(it) => (Value::Double(*it.inner()), Type::Double),
        LiteralValue::Int(it) => (Value::Int(*it.inner()), Type::Int),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(it) => (Value::text(it.inner()), Type::String),
        LiteralValue::UInt(it) => (Value::Uint(*it.inner()), Type::Uint),
    };
    Node { kind: Kind::Literal(value), ty }
}

/// The name that `expr` spells, if it has a dot in it.
fn qualified(expr: &IdedExpr) -> Option<String> {
    let mut names = Vec::new();
    let mut expr = expr;
    loop {
        match &expr.expr {
            Expr::Ident(name) => {
                names.push(name.as_str());
                names.reverse();
                return Some(names.join("."));
            }
            Expr::Select(select) if !select.test && names.len() < 8 => {
                names.push(&select.field);
                expr = &select.operand;
            }
            _ => return None,
        }
    }
}

fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "kubernetes.URL" => Type::Opaque("kubernetes.URL"),
        "kubernetes.Quantity" => Type::Opaque("kubernetes.Quantity"),
        "kubernetes.Semver" => Type::Opaque("kubernetes.Semver"),
        "kubernetes.NamedFormat" => Type::Opaque("kubernetes.NamedFormat"),
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        _ => return None,
    })
}
