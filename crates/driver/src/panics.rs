//! Our own mistakes, caught: what panics is put aside, and everything else goes on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// What is said of one.
pub(crate) const SAID: &str = "this is a bug of Coracle, please report it; tried again later";

/// What `decide` says, or what it said as it panicked. Decisions change nothing but what they
/// return, so nothing is left half done.
pub(crate) fn caught<T>(decide: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|payload| message(&*payload))
}

/// As [`caught`], for what waits. The store's transactions happen as a whole or not at all.
pub(crate) async fn caught_async<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}
