//! Pods played through in a world whose containers do as they are told.

mod ephemeral;
mod evictions;
mod hooks;
mod image_volumes;
mod life;
mod probing;
mod properties;
mod resizing;
mod restarts;
mod sidecars;
mod starting_over;
mod world;
