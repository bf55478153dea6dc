//! What is no answer but a conversation: exec, attach, port-forward, proxy and logs, over the node.

mod channels;
mod command;
mod forwarding;
pub(crate) mod hops;
pub(crate) mod kubelet;
mod links;
pub(crate) mod logs;
pub mod node;
pub(crate) mod options;
mod pods;
mod port_channels;
pub(crate) mod port_forward;
pub(crate) mod proxy;
pub(crate) mod remote_command;
mod spdy;
mod spdy_command;
mod spdy_upgrade;
mod upgrade;
pub(crate) mod websocket;
