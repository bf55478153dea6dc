//! A pod's volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Timestamp;

use super::Hands;
use crate::tasks::blocking;
use crate::volumes::VolumeError;
use crate::volumes::mounter::{MountedVolumes, Mounter, unmount_all};
use crate::worker::{MountFailure, Mounting};

impl Hands {
    /// Puts the volumes in place. When a token must be renewed.
    pub(super) async fn mount(
        &self,
        mounting: Mounting,
    ) -> Result<Option<Timestamp>, MountFailure> {
        let denied = |message| MountFailure { message, expected: false };
        let tokens_at = self.ask_for_tokens().await.map_err(denied)?;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        let tokens: BTreeMap<_, _> =
            self.held().tokens.iter().map(|(key, it)| (key.clone(), it.value.clone())).collect();
        let (mounted, done) = blocking(move || {
            let snapshot = context.client.api.snapshot();
            let mounter = Mounter {
                places: &context.places,
                snapshot: &snapshot,
                allocatable: &context.allocatable,
                tokens: &tokens,
                is_running: mounting == Mounting::Anew,
            };
            let mut mounted = MountedVolumes::new();
            let done = match mounting {
                Mounting::Files => mounter.refresh(&pod, &mut mounted),
                Mounting::Anew | Mounting::First => mounter.mount(&pod, &mut mounted),
            };
            let done = done.map_err(|error| MountFailure {
                message: error.to_string(),
                expected: matches!(error.source, VolumeError::Unbound(_)),
            });
            (mounted, done)
        })
        .await;
        self.held().volumes.extend(mounted);
        done.map(|()| tokens_at)
    }

    /// Takes all volumes away, also those that an earlier engine has put in place.
    pub(super) async fn unmount(&self) -> Result<(), String> {
        let (context, uid) = (Arc::clone(&self.context), self.id.uid.clone());
        let done = blocking(move || unmount_all(&context.places, &uid)).await;
        done.map_err(|error| error.to_string())?;
        let mut held = self.held();
        held.volumes.clear();
        held.tokens.clear();
        Ok(())
    }
}
