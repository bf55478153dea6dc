//! What a set may ask for by annotation.

use coracle_api::options::{GROW_CLAIMS, REPLACE_UNHEALTHY};
use serde_json::{Value, json};

use super::tests::{CONTROLLER, web, world};
use crate::world::World;

const CLAIMS: &str = "persistentvolumeclaims";

fn asking(annotation: &str, policy: &str) -> Value {
    let mut set = web(3, policy);
    set["metadata"]["annotations"] = json!({annotation: "true"});
    set
}

fn all_ready(set: Value) -> World {
    let mut world = world(set);
    for pod in ["web-0", "web-1", "web-2"] {
        world.ready(pod);
    }
    world
}

fn sizes(world: &World) -> Vec<String> {
    let size = |claim: &String| {
        let claim = world.get(CLAIMS, claim);
        claim.str_at("/spec/resources/requests/storage").unwrap_or_default().to_owned()
    };
    world.names(CLAIMS).iter().map(size).collect()
}

fn ask_for(world: &mut World, size: &str) {
    world.change(|spec| {
        spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = json!(size);
    });
}

#[test]
fn claims_grow_with_their_templates_where_the_set_asks_for_it() {
    let mut world = all_ready(asking(GROW_CLAIMS, "OrderedReady"));
    ask_for(&mut world, "2Gi");
    assert_eq!(sizes(&world), ["2Gi"; 3]);
    let said = "SuccessfulUpdate update Claim www-web-1 Pod web-1 in StatefulSet web success";
    assert!(world.notes.iter().any(|note| note == said), "{:?}", world.notes);
    // Nothing shrinks.
    ask_for(&mut world, "512Mi");
    assert_eq!(sizes(&world), ["2Gi"; 3]);
}

#[test]
fn claims_keep_their_sizes_where_nobody_asks() {
    let mut world = all_ready(web(3, "OrderedReady"));
    ask_for(&mut world, "2Gi");
    assert_eq!(sizes(&world), ["1Gi"; 3]);
}

#[test]
fn a_claim_grows_under_a_pod_that_is_not_well() {
    let mut world = all_ready(asking(GROW_CLAIMS, "OrderedReady"));
    world.unready("web-0");
    ask_for(&mut world, "2Gi");
    assert_eq!(sizes(&world), ["2Gi"; 3]);
}

#[test]
fn an_outdated_pod_that_is_not_well_goes_first_where_the_set_asks_for_it() {
    for policy in ["OrderedReady", "Parallel"] {
        let mut world = all_ready(asking(REPLACE_UNHEALTHY, policy));
        world.pass(60, CONTROLLER);
        world.unready("web-1");
        world.image("web:2");
        let goes = |pod: &str| world.get("pods", pod).metadata().is_deleting();
        assert_eq!(["web-0", "web-1", "web-2"].map(goes), [false, true, false], "{policy}");
        let said = world.notes.iter().find(|note| note.starts_with("ReplacedUnhealthy"));
        assert!(said.is_some_and(|note| note.contains(REPLACE_UNHEALTHY)), "{policy}");
    }
}
