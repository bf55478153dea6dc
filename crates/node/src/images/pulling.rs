//! How images are pulled, and who pulls now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit};

use super::registries::Endpoint;
use crate::lock::locked;

/// How images are pulled.
#[derive(Clone, Debug, Default)]
pub struct Pulling {
    /// The file that says where they are asked for; read again at every pull.
    pub registries: Option<PathBuf>,
    /// How many are pulled at once; as many as there are, if it does not say.
    pub at_once: Option<usize>,
}

/// Who pulls now.
#[derive(Default)]
pub(super) struct Pulls {
    pub registries: Option<PathBuf>,
    places: Option<Semaphore>,
    /// Layers on their way, by where they come from.
    layers: Mutex<BTreeMap<String, Weak<Turn<()>>>>,
}

impl From<Pulling> for Pulls {
    fn from(pulling: Pulling) -> Self {
        let places = pulling.at_once.map(Semaphore::new);
        Self { registries: pulling.registries, places, layers: Mutex::default() }
    }
}

impl Pulls {
    /// Waits until there is room for one more; there is while it is held.
    pub async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.places.as_ref()?.acquire().await.ok()
    }

    /// For one at a time of those who fetch the same layer from the same place: the others find it.
    pub fn turn(&self, endpoint: &Endpoint, digest: &str) -> Arc<Turn<()>> {
        let mut layers = locked(&self.layers);
        layers.retain(|_, turn| turn.strong_count() > 0);
        let key = format!("{} {digest}", endpoint.base);
        if let Some(turn) = layers.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::new(()));
        layers.insert(key, Arc::downgrade(&turn));
        turn
    }
}
