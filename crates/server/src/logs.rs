//! `pods/log`: text as the container wrote it.

use coracle_api::{Status, Timestamp};
use coracle_store::Snapshot;
use futures_util::stream;
use jiff::SignedDuration;

use crate::http::{Response, streamed};
use crate::parse::{Query, ResourceRef};
use crate::pods;
use crate::streaming::{LogOptions, NodeStreams};

/// Answers `pods/log`.
///
/// # Errors
/// 404 without the pod, 400 for options that do not fit, and what the node says.
pub(crate) async fn serve(
    node: &dyn NodeStreams,
    snapshot: &Snapshot,
    pod: &ResourceRef,
    query: &Query,
    now: Timestamp,
) -> Result<Response, Status> {
    let object = pods::find(snapshot, pod)?;
    let mut options = options(query, now)?;
    options.container = pods::container(object, &options.container)?;
    pods::placed(snapshot, pod)?;
    let chunks = node.logs(&pod.namespace, &pod.name, options).await?;
    let chunks =
        stream::unfold(chunks, async |mut chunks| chunks.recv().await.map(|chunk| (chunk, chunks)));
    Ok(streamed("text/plain", chunks))
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions, Status> {
    let since = match (query.number("sinceSeconds")?, query.get("sinceTime")) {
        (Some(seconds), "") => Some(now - SignedDuration::from_secs(seconds)),
        (None, "") => None,
        (None, time) => Some(
            time.parse()
                .map_err(|_| Status::bad_request(format!("parsing time \"{time}\" as RFC 3339")))?,
        ),
        _ => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(Status::bad_request(why));
        }
    };
    let count = |key: &str| -> Result<Option<u64>, Status> {
        match query.number(key)? {
            Some(given) if given < 0 => Err(Status::bad_request(format!(
                "{key}: Invalid value: {given}: must be greater than or equal to 0"
            ))),
            given => Ok(given.and_then(|given| u64::try_from(given).ok())),
        }
    };
    Ok(LogOptions {
        container: query.get("container").to_owned(),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: count("tailLines")?,
        since,
        limit_bytes: count("limitBytes")?,
    })
}
