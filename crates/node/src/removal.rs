//! What is taken away of a pod when it ends.

use std::sync::Arc;

use crate::context::Context;
use crate::hands::machine;
use crate::pods::PodId;
use crate::tasks::blocking;
use crate::volumes::mounter::unmount_all;

impl Context {
    /// The pod's task has ended, and nothing of the pod is left; its logs go with its object.
    pub fn forget(&self, id: &PodId) {
        self.shown.forget(&id.uid);
        self.give_back(&id.uid);
        self.board.strike(id);
        self.tell_of_room();
        let logs = self.places.logs(id);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(logs = %logs.display(), %error, "logs are not removed");
            }
            _ => {}
        }
    }

    /// Takes a pod off the network and removes its sandbox with whatever runs in it.
    pub async fn remove_sandbox(self: &Arc<Self>, uid: &str) -> Result<(), String> {
        let (kernel, owned) = (Arc::clone(&self.kernel), uid.to_owned());
        let detached = blocking(move || machine::detach(&*kernel, &owned)).await;
        machine::remove(&*self.runtime, uid).await?;
        detached?;
        self.give_back(uid);
        Ok(())
    }

    /// Ends whatever runs of the pod and takes away what it had.
    pub async fn remove_pod(self: &Arc<Self>, uid: &str) -> Result<(), String> {
        self.remove_sandbox(uid).await?;
        let (context, owned) = (Arc::clone(self), uid.to_owned());
        let unmounted = blocking(move || unmount_all(&context.places, &owned)).await;
        unmounted.map_err(|error| error.to_string())
    }
}
