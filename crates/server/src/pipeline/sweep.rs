//! What other API servers have in a namespace goes with it, as upstream's
//! `controller/namespace/deletion` deletes what discovery shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::kinds::offered::{REGISTRATION, Remote};
use coracle_api::resources::API_SERVICES;
use coracle_api::text::urls;
use coracle_api::{Call, Fetch, Fetched, Given, OtherServer, Swept};
use coracle_store::Snapshot;
use futures_util::future::{BoxFuture, join_all};
use serde_json::Value;

use crate::pipeline::outside::Outside;

/// Who deletes: with all rights, since whoever deletes a namespace deletes what is in it.
const USER: &str = "system:serviceaccount:kube-system:namespace-controller";
/// For how long an answer is waited for, in seconds, and how many are waited for at once.
const TIMEOUT: u16 = 15;
const AT_ONCE: usize = 8;
/// Objects of one resource that are deleted one by one in one turn.
const SINGLY_MAX: usize = 500;

/// A resource of another server, in one namespace.
struct Place {
    server: OtherServer,
    /// `boats.example.com`
    resource: String,
    /// `/apis/example.com/v1/namespaces/shop/boats`
    path: String,
    verbs: Vec<String>,
}

/// Deletes what other API servers have in `namespace`, and says what is left.
pub(crate) async fn sweep(
    outside: &dyn Outside,
    snapshot: &Snapshot,
    remotes: &BTreeMap<String, Arc<Remote>>,
    namespace: &str,
) -> Swept {
    let (places, unknown) = places(snapshot, remotes, namespace);
    let mut swept = Swept { unknown, ..Swept::default() };
    for some in places.chunks(AT_ONCE) {
        let asked: Vec<BoxFuture<'_, Swept>> =
            some.iter().map(|place| Box::pin(empty(outside, place)) as _).collect();
        for one in join_all(asked).await {
            swept.failed.extend(one.failed);
            swept.left.extend(one.left);
            for (finalizer, count) in one.held {
                let sum = swept.held.entry(finalizer).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }
    swept.failed.sort();
    swept
}

/// The resources that can be deleted in a namespace, and the versions of which nobody knows what they
/// have.
fn places(
    snapshot: &Snapshot,
    remotes: &BTreeMap<String, Arc<Remote>>,
    namespace: &str,
) -> (Vec<Place>, Vec<String>) {
    let (mut places, mut unknown) = (Vec::new(), Vec::new());
    for service in snapshot.list(API_SERVICES, None) {
        let Some(server) = OtherServer::of(service.value()) else { continue };
        let text = |pointer: &str| service.str_at(pointer).unwrap_or_default();
        let (group, version) = (text("/spec/group"), text("/spec/version"));
        if group == REGISTRATION {
            continue;
        }
        let known = remotes.get(&server.name).filter(|remote| remote.is_current);
        let Some(known) = known else {
            unknown.push(format!("{group}/{version}"));
            continue;
        };
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        for resource in known.resources.iter().filter(|it| it["scope"] == "Namespaced") {
            let plural = resource["resource"].as_str().unwrap_or_default();
            let verbs = resource["verbs"].as_array().into_iter().flatten();
            let verbs: Vec<String> =
                verbs.filter_map(|verb| verb.as_str().map(str::to_owned)).collect();
            if verbs.iter().any(|verb| verb == "delete") {
                places.push(Place {
                    server: server.clone(),
                    resource: format!("{plural}.{group}"),
                    path: format!("{root}/{version}/namespaces/{namespace}/{plural}"),
                    verbs,
                });
            }
        }
    }
    (places, unknown)
}

async fn empty(outside: &dyn Outside, place: &Place) -> Swept {
    let mut swept = Swept::default();
    let can = |verb: &str| place.verbs.iter().any(|known| known == verb);
    if can("deletecollection") {
        swept.failed.extend(delete(outside, place, place.path.clone()).await);
    }
    if !can("list") {
        return swept;
    }
    let mut left = match list(outside, place).await {
        Ok(left) => left,
        Err(why) => {
            swept.failed.push(why);
            return swept;
        }
    };
    if !can("deletecollection") && !left.is_empty() {
        for name in left.iter().filter_map(|one| one["metadata"]["name"].as_str()).take(SINGLY_MAX)
        {
            let path = format!("{}/{}", place.path, urls::segment(name));
            swept.failed.extend(delete(outside, place, path).await);
        }
        left = list(outside, place).await.unwrap_or(left);
    }
    if !left.is_empty() {
        swept.left.insert(place.resource.clone(), left.len());
    }
    for one in &left {
        let finalizers = one["metadata"]["finalizers"].as_array().into_iter().flatten();
        for finalizer in finalizers.filter_map(Value::as_str) {
            let sum = swept.held.entry(finalizer.to_owned()).or_default();
            *sum = sum.saturating_add(1);
        }
    }
    swept
}

/// Why nothing was deleted; what is gone already is as good.
async fn delete(outside: &dyn Outside, place: &Place, path: String) -> Option<String> {
    let fetched = ask(outside, Fetch { method: "DELETE", ..fetch(place, path) }).await;
    match fetched.answer {
        Ok((404, _)) => None,
        _ => fetched.success().err(),
    }
}

async fn list(outside: &dyn Outside, place: &Place) -> Result<Vec<Value>, String> {
    let fetched = ask(outside, fetch(place, place.path.clone())).await;
    let list: Value = serde_json::from_str(fetched.success()?).map_err(|it| it.to_string())?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn fetch(place: &Place, path: String) -> Fetch {
    Fetch { user: USER.into(), timeout: TIMEOUT, ..Fetch::get(place.server.clone(), path) }
}

async fn ask(outside: &dyn Outside, fetch: Fetch) -> Fetched {
    let url = fetch.path.clone();
    match outside.answer(&Call::Fetch(fetch)).await {
        Ok(Given::Fetched(fetched)) => fetched,
        Ok(_) => Fetched { url, tag: String::new(), answer: Err("another answer".into()) },
        Err(status) => Fetched { url, tag: String::new(), answer: Err(status.message) },
    }
}
