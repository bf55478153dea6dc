//! What a request for a pod's logs, streams or ports needs to know of the pod.

use coracle_api::resources::PODS;
use coracle_api::{Object, Status};
use coracle_store::Snapshot;

use crate::pipeline::parse::ResourceRef;

/// The pod, once it is somewhere.
///
/// # Errors
/// 404 without the pod, 400 while no node has it.
pub(crate) fn placed<'a>(snapshot: &'a Snapshot, pod: &ResourceRef) -> Result<&'a Object, Status> {
    let object = find(snapshot, pod)?;
    if object.str_at("/spec/nodeName").unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name)));
    }
    Ok(object)
}

/// The pod.
///
/// # Errors
/// 404 without it.
pub(crate) fn find<'a>(snapshot: &'a Snapshot, pod: &ResourceRef) -> Result<&'a Object, Status> {
    snapshot.find(PODS, &pod.namespace, &pod.name).map(AsRef::as_ref).ok_or_else(|| {
        Status::failure(404, "NotFound", format!("pods \"{}\" not found", pod.name)).with_details(
            |details| {
                details.name = pod.name.clone();
                details.kind = PODS.into();
            },
        )
    })
}

/// The container that a client means by `name`: the only one when it names none.
///
/// # Errors
/// 400 when there is none of that name, or when it has to be chosen.
pub(crate) fn container(pod: &Object, name: &str) -> Result<String, Status> {
    let all = || {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| containers(pod, list))
    };
    let own = &pod.metadata().name;
    if !name.is_empty() {
        let why = || Status::bad_request(format!("container {name} is not valid for pod {own}"));
        return all().find(|known| *known == name).map(str::to_owned).ok_or_else(why);
    }
    let main: Vec<&str> = containers(pod, "containers").collect();
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(Status::bad_request(format!(
            "a container name must be specified for pod {own}, choose one of: [{}]",
            all().collect::<Vec<_>>().join(" ")
        ))),
    }
}

fn containers<'a>(pod: &'a Object, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let all = pod.value()["spec"][list].as_array().into_iter().flatten();
    all.filter_map(|container| container["name"].as_str())
}
