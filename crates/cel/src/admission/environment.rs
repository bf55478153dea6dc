//! What expressions about requests may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::budget::Expression;
use crate::scope::{Composed, Declared};
use crate::types::{AUTHORIZER, Field, ObjectType, RESOURCE_CHECK, Type};
use crate::{Environment, Issue, Program};

/// What is known of the objects that expressions are about.
#[derive(Debug, Clone)]
pub(super) struct Known {
    object: Type,
    params: Option<Type>,
}

/// Compiles the expressions of a policy, whose variables are declared one after the other.
#[derive(Debug)]
pub struct Policy {
    known: Known,
    composed: Arc<Vec<Declared>>,
    /// The variables.
    pub(super) variables: Vec<Composed>,
}

/// What an expression must come to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    Any,
    Bool,
    Text,
    TextOrNull,
    Object,
    Patches,
}

/// The expressions of a policy about objects of the type `object`, with params of the type `params`
/// if it has any: to see what is wrong with them there.
#[must_use]
pub fn typed(object: Type, params: Option<Type>) -> Policy {
    Policy::new(Known { object, params })
}

/// What there is for conditions, of a policy with params or not.
pub(super) fn of_conditions(has_params: bool) -> Environment {
    base(&Known { object: Type::Dyn, params: has_params.then_some(Type::Dyn) }, true)
}

fn base(known: &Known, has_authorizer: bool) -> Environment {
    let mut environment = Environment::new()
        .with("object", known.object.clone())
        .with("oldObject", known.object.clone())
        .with("request", request())
        .with("namespaceObject", namespace());
    if let Some(params) = &known.params {
        environment = environment.with("params", params.clone());
    }
    if has_authorizer {
        environment = environment
            .with("authorizer", Type::Opaque(AUTHORIZER))
            .with("authorizer.requestResource", Type::Opaque(RESOURCE_CHECK));
    }
    environment
}

impl Policy {
    fn new(known: Known) -> Self {
        Self { known, composed: Arc::default(), variables: Vec::new() }
    }

    /// That of `spec`, its variables declared.
    pub(super) fn of(spec: &Json) -> Self {
        let mut policy = Self::bare(has_params(spec));
        policy.declare_all(spec);
        policy
    }

    /// One that has declared nothing yet.
    pub(super) fn bare(has_params: bool) -> Self {
        Self::new(Known { object: Type::Dyn, params: has_params.then_some(Type::Dyn) })
    }

    /// Declares the variables of `spec`.
    pub fn declare_all(&mut self, spec: &Json) {
        for variable in spec["variables"].as_array().into_iter().flatten() {
            let text = |field: &str| variable[field].as_str().unwrap_or_default();
            // What is wrong with it is told when it is named.
            let _ = self.declare(text("name"), text("expression"));
        }
    }

    /// Declares a variable, whatever is wrong with it.
    pub(super) fn declare(&mut self, name: &str, source: &str) -> Result<(), String> {
        let program = self.compile(source, Wanted::Any, true);
        let (ty, depth) = match &program {
            Ok(program) => (carried(program.result_type()), program.checked.depth),
            Err(_) => (Type::Dyn, 0),
        };
        let told = program.as_ref().map(drop).map_err(Clone::clone);
        Arc::make_mut(&mut self.composed).push(Declared { name: name.to_owned(), ty, depth });
        self.variables.push(Composed { name: name.to_owned(), program });
        told
    }

    /// What `source` means, which must come to what is `wanted`; or why that cannot be.
    pub(super) fn compile(
        &self,
        source: &str,
        wanted: Wanted,
        has_authorizer: bool,
    ) -> Result<Program, String> {
        let environment = Environment {
            composed: Arc::clone(&self.composed),
            composes: true,
            patches: matches!(wanted, Wanted::Object | Wanted::Patches),
            ..base(&self.known, has_authorizer)
        };
        compiled(&environment, source, wanted)
    }

    /// As [`Self::compile`], for later.
    pub(super) fn expression(
        &self,
        source: &str,
        wanted: Wanted,
        has_authorizer: bool,
    ) -> Expression {
        let program = self.compile(source, wanted, has_authorizer);
        Expression { source: source.to_owned(), program }
    }

    /// What is wrong with `source`, whatever it comes to; as an expression is told of, without a word
    /// before.
    #[must_use]
    pub fn mistake(&self, source: &str) -> Option<String> {
        let why = self.compile(source, Wanted::Any, true).err()?;
        Some(why.strip_prefix(FAILED).unwrap_or(&why).to_owned())
    }
}

const FAILED: &str = "compilation failed: ";

/// `source` in `environment`; or why not.
pub(super) fn compiled(
    environment: &Environment,
    source: &str,
    wanted: Wanted,
) -> Result<Program, String> {
    let program = environment
        .compile(source)
        .map_err(|issues| format!("{FAILED}{}", Issue::show_all(&issues)))?;
    let types = wanted.types();
    if types.is_empty() || types.contains(program.result_type()) {
        return Ok(program);
    }
    let names: Vec<String> = types.iter().map(full_name).collect();
    let found = full_name(program.result_type());
    Err(match names.as_slice() {
        [one] => format!("must evaluate to {one} but got {found}"),
        several => format!("must evaluate to one of [{}] but got {found}", several.join(" ")),
    })
}

impl Wanted {
    /// Any of them will do; no types will for all.
    fn types(self) -> Vec<Type> {
        match self {
            Self::Any => vec![],
            Self::Bool => vec![Type::Bool],
            Self::Text => vec![Type::String],
            Self::TextOrNull => vec![Type::String, Type::Null],
            Self::Object => vec![Type::named("Object")],
            Self::Patches => vec![Type::list(Type::named("JSONPatch"))],
        }
    }
}

/// A type as cel-go's `Type.String` shows it, unlike in its errors.
fn full_name(ty: &Type) -> String {
    match ty {
        Type::List(list) => format!("list({})", full_name(&list.element)),
        Type::Map(of) => format!("map({}, {})", full_name(&of.0), full_name(&of.1)),
        Type::Optional(of) => format!("optional_type({})", full_name(of)),
        Type::Type(of) => format!("type({})", full_name(of)),
        other => other.name().to_owned(),
    }
}

/// What is known of a variable by its expression's type: of objects, nothing.
fn carried(ty: &Type) -> Type {
    match ty {
        Type::List(list) => Type::list(carried(&list.element)),
        Type::Map(of) => Type::map(carried(&of.0), carried(&of.1)),
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => ty.clone(),
        _ => Type::Dyn,
    }
}

/// Whether the policy `spec` takes params.
pub(super) fn has_params(spec: &Json) -> bool {
    spec["paramKind"].is_object()
}

/// `AdmissionRequest`.
fn request() -> Type {
    let texts = |name: &str, fields: &[&str]| {
        let fields: Vec<_> = fields.iter().map(|field| (*field, Type::String)).collect();
        object(name, &fields)
    };
    let kind = || texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = || texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user_info()),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// `UserInfo`: who somebody is.
pub(crate) fn user_info() -> Type {
    object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    )
}

/// A Namespace, without what is nobody's business.
fn namespace() -> Type {
    let texts = || Type::map(Type::String, Type::String);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let status = object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let field = |(name, ty): &(&str, Type)| {
        ((*name).to_owned(), Field { json: (*name).into(), ty: ty.clone() })
    };
    let fields: BTreeMap<String, Field> = fields.iter().map(field).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}
