//! Messages on their way to a pod's task.

use tokio::sync::mpsc;

use crate::worker::Message;

/// A pod's letters. A channel keeps room for 32 of what it carries for as long as it is open, and
/// most pods have not one message under way: so each comes in a box.
pub(crate) fn letters() -> (Outbox, Inbox) {
    let (outbox, inbox) = mpsc::unbounded_channel();
    (Outbox(outbox), inbox)
}

/// Where they are taken out, by the pod's task.
pub(crate) type Inbox = mpsc::UnboundedReceiver<Box<Message>>;

/// Where they are put in. A handle: cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Outbox(mpsc::UnboundedSender<Box<Message>>);

impl Outbox {
    /// Never waits. A task that has ended has nothing left to do for its pod.
    pub fn send(&self, message: Message) {
        self.0.send(Box::new(message)).unwrap_or_default();
    }
}
