//! How a row of the table is written: a kind, and in a chain all that is special about it.
//!
//! `names` says how `metadata.name` is checked, `counted` that `metadata.generation` counts
//! changes, `guarded` that an update must carry a `resourceVersion`, `put_creates` that PUT on a
//! missing name creates.

use std::borrow::Cow;

use serde_json::Value;

use crate::FieldError;
use crate::defaults::initial;
use crate::kind::{Form, Kind, NameRule, Objects, Scope, Subresource, SubresourceRow, Text, Verb};
use crate::kinds::computed::{Compute, Computed};
use crate::kinds::texts;
use crate::print::columns::{AGE, CONTAINERS, IMAGES, NAME, number, text, wide};
use crate::print::{Cell, Column};
use crate::validation;

pub(super) const READ_WRITE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
pub(super) const PROXY: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
pub(super) const STREAM: &[Verb] = &[Verb::Create, Verb::Get];
pub(super) const CREATE: &[Verb] = &[Verb::Create];
const SCALE: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

/// What is wrong with an object.
type Check = fn(&Value) -> Vec<FieldError>;
/// `(new, old)`: what is wrong with a change.
type CheckChange = fn(&Value, &Value) -> Vec<FieldError>;

/// A kind in namespaces; `resource` is `RESOURCE.GROUP`.
pub(super) fn namespaced(kind: &'static str, resource: &'static str) -> Kind {
    named(kind, resource, Scope::Namespaced)
}

/// A kind of the whole cluster; `resource` is `RESOURCE.GROUP`.
pub(super) fn cluster(kind: &'static str, resource: &'static str) -> Kind {
    named(kind, resource, Scope::Cluster)
}

fn named(kind: &'static str, resource: &'static str, scope: Scope) -> Kind {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    Kind::new(group, "", kind, plural, scope)
}

/// Rows of one version of a group, whose definitions are in `package` of the schema.
pub(super) fn version(
    version: &'static str,
    package: &'static str,
    rows: impl IntoIterator<Item = Kind>,
) -> Vec<Kind> {
    let place = |mut kind: Kind| {
        kind.version = Text::Borrowed(version);
        kind.schema = format!("{package}.{}", kind.kind).into();
        kind
    };
    rows.into_iter().map(place).collect()
}

/// How the table says what is special about a row.
pub(super) trait Row: Sized {
    fn edit(self, change: impl FnOnce(&mut Kind)) -> Kind;

    fn short(self, names: &'static [&'static str]) -> Kind {
        self.edit(|kind| kind.short_names = texts(names))
    }

    /// In category `all`.
    fn all(self) -> Kind {
        self.edit(|kind| kind.categories = texts(&["all"]))
    }

    fn extends_api(self) -> Kind {
        self.edit(|kind| kind.categories = texts(&["api-extensions"]))
    }

    fn verbs(self, verbs: &'static [Verb]) -> Kind {
        self.edit(|kind| kind.verbs = Cow::Borrowed(verbs))
    }

    /// A question that is answered, or something done, and not stored.
    fn review(self) -> Kind {
        self.verbs(CREATE).edit(|kind| kind.objects = Objects::Answered)
    }

    /// Made anew for whoever reads: objects that nobody writes.
    fn computed(self, compute: Compute) -> Kind {
        let row = Computed { compute, is_measured: false, called: None };
        self.verbs(&[Verb::Get, Verb::List]).edit(|kind| kind.objects = Objects::Computed(row))
    }

    /// As [`Row::computed`], from what containers use as well; refusals call it `called`.
    fn measured(self, called: &'static str, compute: Compute) -> Kind {
        let row = Computed { compute, is_measured: true, called: Some(called) };
        self.computed(compute).edit(|kind| kind.objects = Objects::Computed(row))
    }

    fn without(self, verb: Verb) -> Kind {
        self.edit(|kind| kind.verbs.to_mut().retain(|known| *known != verb))
    }

    fn status(self) -> Kind {
        self.sub(Subresource::Status, READ_WRITE)
    }

    fn scale(self) -> Kind {
        self.sub_of(Subresource::Scale, SCALE, READ_WRITE)
    }

    /// A subresource whose body is the object itself.
    fn sub(self, name: Subresource, verbs: &'static [Verb]) -> Kind {
        let sub = SubresourceRow { name, body: None, verbs: Cow::Borrowed(verbs) };
        self.edit(|kind| kind.subresources.to_mut().push(sub))
    }

    /// A subresource with a body of another kind: group, version, kind.
    fn sub_of(
        self,
        name: Subresource,
        (group, version, kind): (&'static str, &'static str, &'static str),
        verbs: &'static [Verb],
    ) -> Kind {
        let body = (Text::Borrowed(group), Text::Borrowed(version), Text::Borrowed(kind));
        self.sub(name, verbs).edit(|kind| {
            if let Some(sub) = kind.subresources.to_mut().last_mut() {
                sub.body = Some(body);
            }
        })
    }

    fn stored(self, form: Form) -> Kind {
        self.edit(|kind| kind.objects = Objects::Stored(Some(form)))
    }

    fn names(self, rule: NameRule) -> Kind {
        self.edit(|kind| kind.strategy.name = rule)
    }

    /// Fields by which objects can be selected, and where they stand in what is stored.
    fn select(self, labels: &'static [(&'static str, &'static str)]) -> Kind {
        self.edit(|kind| kind.strategy.field_labels = labels)
    }

    /// It keeps a number of equal pods.
    fn replicates(self, columns: &'static [Column]) -> Kind {
        self.validate_status(validation::replicas_status)
            .all()
            .scale()
            .status()
            .counted()
            .select(&[("status.replicas", "/status/replicas")])
            .prepare(initial::replicas)
            .columns(columns)
    }

    /// `metadata.generation` counts changes.
    fn counted(self) -> Kind {
        self.edit(|kind| kind.strategy.has_generation = true)
    }

    /// As [`Row::counted`], and of annotations.
    fn counted_with_annotations(self) -> Kind {
        self.counted().edit(|kind| kind.strategy.counts_annotations = true)
    }

    /// An update must carry a `resourceVersion`.
    fn guarded(self) -> Kind {
        self.edit(|kind| kind.strategy.unconditional_update = false)
    }

    /// What clients are told that still use it.
    fn deprecated(self, why: &'static str) -> Kind {
        self.edit(|kind| kind.deprecation = Some(why.into()))
    }

    /// PUT on a missing name creates.
    fn put_creates(self) -> Kind {
        self.edit(|kind| kind.strategy.create_on_update = true)
    }

    /// A deletion is answered with the object that is gone.
    fn answers_with_object(self) -> Kind {
        self.edit(|kind| kind.strategy.answers_with_object = true)
    }

    /// Dependents stay when a deletion does not say what becomes of them.
    fn orphans(self) -> Kind {
        self.edit(|kind| kind.strategy.orphans_dependents = true)
    }

    /// What is filled in where a client says nothing.
    fn defaults(self, fill: fn(&mut Value)) -> Kind {
        self.edit(|kind| kind.strategy.default = fill)
    }

    /// What a new object starts with, whatever its client said.
    fn prepare(self, fill: fn(&mut Value)) -> Kind {
        self.edit(|kind| kind.strategy.prepare_create = fill)
    }

    /// `(new, old)`: what an update keeps or sets.
    fn prepare_update(self, fill: fn(&mut Value, &Value)) -> Kind {
        self.edit(|kind| kind.strategy.prepare_update = fill)
    }

    /// What is wrong with an object, new or changed.
    fn validate(self, check: Check) -> Kind {
        self.edit(|kind| kind.strategy.validate = check)
    }

    /// What is wrong with a new object besides.
    fn validate_create(self, check: Check) -> Kind {
        self.edit(|kind| kind.strategy.validate_create = check)
    }

    /// What is wrong with a change besides.
    fn validate_update(self, check: CheckChange) -> Kind {
        self.edit(|kind| kind.strategy.validate_update = check)
    }

    /// What is wrong with a change of `/status`.
    fn validate_status(self, check: CheckChange) -> Kind {
        self.edit(|kind| kind.strategy.validate_status = check)
    }

    /// Sentences for the `Warning` header.
    fn warnings(self, warn: fn(&Value, &Value) -> Vec<String>) -> Kind {
        self.edit(|kind| kind.strategy.warnings = warn)
    }

    /// Seconds of grace when a deletion names none.
    fn grace_period(self, seconds: fn(&Value) -> i64) -> Kind {
        self.edit(|kind| kind.strategy.grace_period = Some(seconds))
    }

    /// What `kubectl get` shows.
    fn columns(self, columns: &'static [Column]) -> Kind {
        self.edit(|kind| kind.columns = Cow::Borrowed(columns))
    }
}

/// What is shown of a number of equal pods.
pub(super) const fn replica_columns(selector: Cell) -> [Column; 8] {
    [
        NAME,
        number("Desired", "/spec/replicas"),
        number("Current", "/status/replicas"),
        number("Ready", "/status/readyReplicas"),
        AGE,
        wide(CONTAINERS),
        wide(IMAGES),
        wide(text("Selector", selector)),
    ]
}

impl Row for Kind {
    fn edit(mut self, change: impl FnOnce(&mut Kind)) -> Kind {
        change(&mut self);
        self
    }
}
