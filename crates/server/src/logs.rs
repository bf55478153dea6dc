//! `pods/log`: text as the container wrote it.

use coracle_api::{Object, Status, Timestamp};
use coracle_store::Snapshot;
use futures_util::stream;
use jiff::SignedDuration;

use crate::http::{Response, streamed};
use crate::parse::{Query, ResourceRef};
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
    let missing = || {
        Status::failure(404, "NotFound", format!("pods \"{}\" not found", pod.name)).with_details(
            |details| {
                details.name = pod.name.clone();
                details.kind = "pods".into();
            },
        )
    };
    let object = snapshot.find("pods", &pod.namespace, &pod.name).ok_or_else(missing)?;
    let mut options = options(query, now)?;
    if options.container.is_empty() {
        options.container = only_container(object)?;
    } else if !containers(object).any(|name| name == options.container) {
        return Err(Status::bad_request(format!(
            "container {} is not valid for pod {}",
            options.container, pod.name
        )));
    }
    if object.str_at("/spec/nodeName").unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name)));
    }
    let chunks = node.logs(&pod.namespace, &pod.name, options).await?;
    let chunks =
        stream::unfold(chunks, async |mut chunks| chunks.recv().await.map(|chunk| (chunk, chunks)));
    Ok(streamed("text/plain", chunks))
}

fn containers(pod: &Object) -> impl Iterator<Item = &str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = lists.into_iter().filter_map(|list| pod.value()["spec"][list].as_array()).flatten();
    all.filter_map(|container| container["name"].as_str())
}

/// The container that is meant when the client names none.
fn only_container(pod: &Object) -> Result<String, Status> {
    let spec = &pod.value()["spec"];
    let names = |list: &str| -> Vec<&str> {
        let all = spec[list].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str()).collect()
    };
    let main = names("containers");
    if let [only] = main.as_slice() {
        return Ok((*only).to_owned());
    }
    let mut message = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        pod.metadata().name,
        main.join(" ")
    );
    let init = names("initContainers");
    if !init.is_empty() {
        message += &format!(" or one of the init containers: [{}]", init.join(" "));
    }
    Err(Status::bad_request(message))
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
