//! Pods that come to an address and leave it: told to the proxy by who gives addresses, for what the
//! API shows of them comes later.

use coracle_api::Key;
use tokio::sync::oneshot;

/// A pod comes or goes.
pub(crate) enum Move {
    /// The pod has an address from now on, and will be attached.
    Comes {
        /// Its object.
        pod: Key,
        uid: String,
        /// Told when policies hold for it, or why they do not; nobody waits where there are none.
        covered: Option<oneshot::Sender<Result<(), String>>>,
    },
    /// The pod with this UID has no address any more.
    Goes(String),
}

impl Move {
    /// Whether somebody waits for it.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::Comes { covered: Some(_), .. })
    }
}
