//! The kinds that are served: those compiled in, and what the committed CustomResourceDefinitions
//! come to.
//!
//! The table follows the store, not whoever wrote to it: it is held against the definitions of the
//! newest snapshot whenever it is asked for. A definition's rows are made once for each of its
//! versions.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use coracle_api::kinds::custom;
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS;
use coracle_api::schema::MalformedSchema;
use coracle_api::{Kind, Kinds, Object};
use coracle_cel::rules::Lazy;
use coracle_store::{Snapshot, Store};

/// The table of kinds over a store.
pub(crate) struct Defined {
    builtin: Kinds,
    now: ArcSwap<Table>,
    /// Held while the table is made anew, so that the newest is the one that stays.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Table {
    definitions: Vec<(Arc<Object>, Rows)>,
    kinds: Arc<Kinds>,
}

/// What a definition comes to.
#[derive(Clone, Default)]
struct Rows {
    served: Vec<Kind>,
    /// The one in whose form objects are stored, when it is not served.
    hidden: Option<Kind>,
}

impl Rows {
    fn of(definition: &Object) -> Result<Self, MalformedSchema> {
        let definition = definition.value();
        let mut served = custom::rows(definition)?;
        for row in &mut served {
            let rules = row.definition.as_ref().and_then(Lazy::of);
            row.rules = rules.map(|rules| Arc::new(rules) as _);
        }
        Ok(Self { served, hidden: custom::hidden_row(definition)? })
    }
}

impl Defined {
    /// What is compiled in, and nothing else yet.
    pub(crate) fn new(builtin: Kinds) -> Self {
        let kinds = Arc::new(builtin.clone());
        let table = Table { definitions: Vec::new(), kinds };
        Self { builtin, now: ArcSwap::from_pointee(table), turn: Mutex::default() }
    }

    /// The kinds that are defined in the newest state of `store`.
    pub(crate) fn kinds(&self, store: &Store) -> Arc<Kinds> {
        let table = self.now.load();
        if table.is_of(&store.snapshot()) {
            return Arc::clone(&table.kinds);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, snapshot) = (self.now.load_full(), store.snapshot());
        if table.is_of(&snapshot) {
            return Arc::clone(&table.kinds);
        }
        let next = table.following(&self.builtin, &snapshot);
        let kinds = Arc::clone(&next.kinds);
        self.now.store(Arc::new(next));
        kinds
    }
}

impl Table {
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        let known = self.definitions.iter().map(|(definition, _)| definition);
        let mut stored = snapshot.list(CUSTOM_RESOURCE_DEFINITIONS, None);
        known.into_iter().all(|known| stored.next().is_some_and(|it| Arc::ptr_eq(it, known)))
            && stored.next().is_none()
    }

    fn following(&self, builtin: &Kinds, snapshot: &Snapshot) -> Self {
        let made = |definition: &Arc<Object>| {
            let known = self.definitions.iter().find(|(known, _)| Arc::ptr_eq(known, definition));
            let rows = match known {
                Some((_, rows)) => Ok(rows.clone()),
                None => Rows::of(definition),
            };
            let rows = rows.unwrap_or_else(|error| {
                tracing::warn!(%error, "{} is not served", definition.key());
                Rows::default()
            });
            (Arc::clone(definition), rows)
        };
        let definitions: Vec<_> =
            snapshot.list(CUSTOM_RESOURCE_DEFINITIONS, None).map(made).collect();
        let served = definitions.iter().flat_map(|(_, rows)| rows.served.iter().cloned());
        let hidden = definitions.iter().filter_map(|(_, rows)| rows.hidden.clone());
        let kinds = Arc::new(builtin.with(served).keeping(hidden));
        Self { definitions, kinds }
    }
}
