//! Metrics that other API servers have (`custom.metrics.k8s.io`, `external.metrics.k8s.io`): what they
//! are asked, and what becomes of the answer.

use std::collections::BTreeMap;

use coracle_api::kinds::by_maturity;
use coracle_api::resources::API_SERVICES;
use coracle_api::text::urls;
use coracle_api::{Call, Fetch, Fetched, OtherServer, Quantity, Selector};
use coracle_store::Snapshot;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, MetricIdentifier, MetricSpec,
};
use serde_json::Value;

use crate::served::Served;

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
/// Who asks.
const USER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
/// For how long an answer is waited for, in seconds.
const TIMEOUT: u16 = 10;

/// What the server of a metric is asked; `None` when nobody has such metrics, or it is measured here.
pub(super) fn question(
    snapshot: &Snapshot,
    namespace: &str,
    pods: &Selector,
    spec: &MetricSpec,
) -> Option<Call> {
    let (group, path) = if let Some(metric) = &spec.pods {
        let query = query([("labelSelector", Some(pods.to_string())), of(&metric.metric, true)?]);
        let name = urls::escaped(&metric.metric.name);
        (CUSTOM, format!("namespaces/{namespace}/pods/*/{name}{query}"))
    } else if let Some(metric) = &spec.object {
        let name = urls::escaped(&metric.metric.name);
        let place = place(snapshot, namespace, &metric.described_object)?;
        (CUSTOM, format!("{place}/{name}{}", query([of(&metric.metric, true)?])))
    } else if let Some(metric) = &spec.external {
        let name = urls::escaped(&metric.metric.name);
        let query = query([of(&metric.metric, false)?]);
        (EXTERNAL, format!("namespaces/{namespace}/{name}{query}"))
    } else {
        return None;
    };
    let (server, version) = server(snapshot, group)?;
    let path = format!("/apis/{group}/{version}/{path}");
    Some(Call::Fetch(Fetch { user: USER.into(), timeout: TIMEOUT, ..Fetch::get(server, path) }))
}

/// The server of a group's highest version.
fn server(snapshot: &Snapshot, group: &str) -> Option<(OtherServer, String)> {
    let services = snapshot.list(API_SERVICES, None).filter_map(|service| {
        let spec = &service.value()["spec"];
        let version = spec["version"].as_str().filter(|_| spec["group"] == *group)?;
        Some((OtherServer::of(service.value())?, version.to_owned()))
    });
    services.min_by(|a, b| by_maturity(&a.1, &b.1))
}

/// The path of the object that a metric is about.
fn place(
    snapshot: &Snapshot,
    namespace: &str,
    object: &CrossVersionObjectReference,
) -> Option<String> {
    let name = urls::escaped(&object.name);
    if object.kind == "Namespace" {
        return Some(format!("namespaces/{name}/metrics"));
    }
    let api_version = object.api_version.as_deref().unwrap_or_default();
    let served = Served::find(snapshot, api_version, &object.kind)?;
    let place = format!("{}/{name}", served.resource());
    Some(if served.is_namespaced() { format!("namespaces/{namespace}/{place}") } else { place })
}

/// The parameter that a metric's own selector is; of metrics of objects it has another name. `None`
/// when it is no selector.
fn of(metric: &MetricIdentifier, of_object: bool) -> Option<(&'static str, Option<String>)> {
    let name = if of_object { "metricLabelSelector" } else { "labelSelector" };
    let selector = metric.selector.as_ref().map(|selector| Selector::from_typed(Some(selector)));
    let selector = selector.transpose().ok()?.filter(|selector| !selector.is_everything());
    Some((name, selector.map(|selector| selector.to_string())))
}

fn query<const N: usize>(parameters: [(&str, Option<String>); N]) -> String {
    let said = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let said: Vec<String> =
        said.map(|(name, value)| format!("{name}={}", urls::escaped(&value))).collect();
    if said.is_empty() { String::new() } else { format!("?{}", said.join("&")) }
}

/// What a server said of a metric: thousandths, by the object that they are about (external metrics
/// are about none).
///
/// # Errors
/// Why it did not, in upstream's words.
pub(super) fn values(said: &Fetched, kind: &str) -> Result<Vec<(String, i64)>, String> {
    let text = said.success().map_err(|why| said_in_its_place(said).unwrap_or(why));
    let failed = |why: String| format!("unable to fetch metrics from {kind} metrics API: {why}");
    let list: Value = text
        .and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()))
        .map_err(failed)?;
    let items = list["items"].as_array().into_iter().flatten();
    let values: Option<Vec<(String, i64)>> = items
        .map(|item| {
            let about = item["describedObject"]["name"].as_str().unwrap_or_default();
            let value = match &item["value"] {
                Value::String(text) => Quantity::parse(text).ok()?,
                Value::Number(number) => Quantity::parse(&number.to_string()).ok()?,
                _ => return None,
            };
            Some((about.to_owned(), value.milli_value()))
        })
        .collect();
    match values.ok_or_else(|| failed("a value is no quantity".into()))? {
        none if none.is_empty() => Err(format!("no metrics returned from {kind} metrics API")),
        values => Ok(values),
    }
}

/// The message of the Status that came instead.
fn said_in_its_place(said: &Fetched) -> Option<String> {
    let (_, body) = said.answer.as_ref().ok()?;
    let status: Value = serde_json::from_str(body).ok()?;
    status["message"].as_str().map(str::to_owned)
}

/// The amounts of pods, each once.
pub(super) fn by_pod(values: Vec<(String, i64)>) -> BTreeMap<String, i64> {
    values.into_iter().collect()
}

/// All amounts together.
pub(super) fn sum(values: &[(String, i64)]) -> i64 {
    values.iter().fold(0, |sum, (_, value)| sum.saturating_add(*value))
}
