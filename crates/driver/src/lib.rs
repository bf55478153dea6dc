//! The one loop that carries decisions out: watch, queue, snapshot, decide, commit.
