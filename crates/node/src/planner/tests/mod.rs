//! Pods played through in a world whose containers do as they are told.

mod ephemeral;
mod evictions;
mod hooks;
mod life;
mod probing;
mod properties;
mod resizing;
mod restarts;
mod sidecars;
mod world;
