//! `autoscaling/v1.Scale`: the number of replicas of anything that has one.

use coracle_api::ScalePaths;
pub use coracle_api::scale::of;
use serde_json::Value;

use crate::pipeline::verbs::map_at;

/// What the body of `/scale` is.
pub(crate) const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Sets the number of replicas that is wanted, in an object with these paths.
pub(crate) fn set(paths: &ScalePaths, object: &mut Value, replicas: &Value) {
    let mut place = object;
    for field in paths.replicas.split('/').skip(1) {
        map_at(place, field);
        place = &mut place[field];
    }
    *place = replicas.clone();
}
