use serde_json::{Value, json};

use super::sets::{DESIRED, MOST, REVISION, REVISION_HISTORY};
use crate::CONTROLLERS;
use crate::world::World;

const ALL: &[&str] = &["deployment-controller", "replicaset-controller"];
const SETS: &str = "replicasets.apps";
const DEPLOYMENTS: &str = "deployments.apps";

fn deployment(replicas: i64, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "one"}]}},
        },
    })
}

fn rolling(surge: i64, unavailable: i64) -> Value {
    json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn world(replicas: i64, strategy: Value) -> World {
    let mut world = World::new();
    world.create(deployment(replicas, strategy));
    world.settle(ALL);
    world
}

fn roll_to(world: &mut World, image: &str) {
    world.edit(DEPLOYMENTS, "web", |it| {
        it["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
    world.settle(ALL);
}

fn scale(world: &mut World, replicas: i64) {
    world.edit(DEPLOYMENTS, "web", |it| it["spec"]["replicas"] = json!(replicas));
    world.settle(ALL);
}

fn image(set: &Value) -> &str {
    set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// The sizes of the sets of these images.
fn sizes(world: &World, images: &[&str]) -> Vec<i64> {
    let size = |wanted: &&str| {
        let sets = world.names(SETS).into_iter().map(|name| world.get(SETS, &name));
        let mut sets = sets.filter(|set| image(set.value()) == *wanted);
        sets.next().map_or(-1, |set| set.value()["spec"]["replicas"].as_i64().unwrap())
    };
    images.iter().map(size).collect()
}

fn annotation(world: &World, image_of: &str, key: &str) -> Option<String> {
    let sets = world.names(SETS).into_iter().map(|name| world.get(SETS, &name));
    let mut sets = sets.filter(|set| image(set.value()) == image_of);
    sets.next().unwrap().metadata().annotations.get(key).cloned()
}

#[test]
fn a_roll_out_that_becomes_recreate_and_is_resized_goes_on() {
    let mut world = world(2, rolling(1, 0));
    nodes_work(&mut world, &["one"]);
    roll_to(&mut world, "two");
    assert_eq!(sizes(&world, &["one", "two"]), [2, 1]);
    world.edit(DEPLOYMENTS, "web", |it| {
        it["spec"]["strategy"] = json!({"type": "Recreate"});
        it["spec"]["replicas"] = json!(1);
        it["spec"]["template"]["spec"]["containers"][0]["image"] = json!("three");
    });
    world.settle(ALL);
    assert_eq!(sizes(&world, &["one", "two"]), [0, 0]);
    nodes_work(&mut world, &[]);
    world.settle(ALL);
    assert_eq!(sizes(&world, &["three"]), [1]);
}

/// All pods of these images that are not there yet run; those being deleted have stopped.
fn nodes_work(world: &mut World, images: &[&str]) {
    for name in world.names("pods") {
        // A pod that no node has is gone as soon as it is deleted.
        let Some(pod) = world.find("pods", &name) else { continue };
        let image = pod.value()["spec"]["containers"][0]["image"].as_str().unwrap();
        if pod.metadata().is_deleting() {
            world.stopped(&name);
        } else if pod.value()["status"]["phase"] == "Pending" && images.contains(&image) {
            world.runs(&name, true);
        }
        world.settle(ALL);
    }
}

fn finish(world: &mut World, images: &[&str]) {
    for _ in 0..40 {
        nodes_work(world, images);
    }
}

fn status(world: &World) -> Value {
    world.get(DEPLOYMENTS, "web").value()["status"].clone()
}

fn condition(world: &World, of: &str) -> Value {
    let status = status(world);
    let mut all = status["conditions"].as_array().unwrap().iter();
    all.find(|one| one["type"] == of).cloned().unwrap_or_default()
}

#[test]
fn a_new_deployment_gets_a_set_and_becomes_available() {
    let mut world = world(3, rolling(1, 1));
    assert_eq!(sizes(&world, &["one"]), [3]);
    assert_eq!(condition(&world, "Available")["reason"], "MinimumReplicasUnavailable");
    assert_eq!(condition(&world, "Progressing")["reason"], "ReplicaSetUpdated");
    finish(&mut world, &["one"]);
    assert_eq!(condition(&world, "Available")["reason"], "MinimumReplicasAvailable");
    let progressing = condition(&world, "Progressing");
    assert_eq!(progressing["reason"], "NewReplicaSetAvailable");
    let name = world.names(SETS).remove(0);
    assert_eq!(
        progressing["message"],
        format!("ReplicaSet \"{name}\" has successfully progressed.")
    );
    let stored = world.get(DEPLOYMENTS, "web");
    assert_eq!(stored.metadata().annotations[REVISION], "1");
    assert_eq!(status(&world)["updatedReplicas"], 3);
    let set = world.get(SETS, &name);
    let hash = &set.metadata().labels["pod-template-hash"];
    assert_eq!(name, format!("web-{hash}"));
    assert_eq!(set.value()["spec"]["selector"]["matchLabels"]["pod-template-hash"], **hash);
    assert_eq!(set.metadata().annotations[DESIRED], "3");
    assert_eq!(set.metadata().annotations[MOST], "4");
    assert!(
        world
            .notes
            .contains(&format!("ScalingReplicaSet Scaled up replica set {name} from 0 to 3"))
    );
}

#[test]
fn a_rolling_update_keeps_its_promises_at_every_step() {
    let mut world = world(5, rolling(2, 1));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "two");
    for _ in 0..40 {
        let sets = sizes(&world, &["one", "two"]);
        assert!(sets.iter().sum::<i64>() <= 7, "{sets:?}");
        assert!(status(&world)["availableReplicas"].as_i64().unwrap() >= 4);
        nodes_work(&mut world, &["one", "two"]);
    }
    assert_eq!(sizes(&world, &["one", "two"]), [0, 5]);
    assert_eq!(annotation(&world, "two", REVISION).as_deref(), Some("2"));
    assert_eq!(condition(&world, "Progressing")["reason"], "NewReplicaSetAvailable");
}

#[test]
fn a_broken_template_stops_in_the_middle_and_is_told_of_after_the_deadline() {
    let mut world = world(3, rolling(1, 0));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "broken");
    finish(&mut world, &["one"]);
    assert_eq!(sizes(&world, &["one", "broken"]), [3, 1]);
    world.pass(600, ALL);
    assert_eq!(condition(&world, "Progressing")["reason"], "ReplicaSetUpdated");
    world.pass(1, ALL);
    assert_eq!(condition(&world, "Progressing")["reason"], "ProgressDeadlineExceeded");
    // Back again: the set of the first template is taken, and numbered anew.
    roll_to(&mut world, "one");
    finish(&mut world, &["one"]);
    assert_eq!(sizes(&world, &["one", "broken"]), [3, 0]);
    assert_eq!(annotation(&world, "one", REVISION).as_deref(), Some("3"));
    assert_eq!(annotation(&world, "one", REVISION_HISTORY).as_deref(), Some("1"));
    assert_eq!(world.get(DEPLOYMENTS, "web").metadata().annotations[REVISION], "3");
    assert_eq!(condition(&world, "Progressing")["reason"], "NewReplicaSetAvailable");
}

#[test]
fn a_roll_out_that_is_stuck_is_scaled_in_proportion() {
    let mut world = world(10, rolling(3, 2));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "broken");
    finish(&mut world, &["one"]);
    assert_eq!(sizes(&world, &["one", "broken"]), [8, 5]);
    scale(&mut world, 30);
    assert_eq!(sizes(&world, &["one", "broken"]), [20, 13]);
}

/// Of two sets that have too many pods together, one was made bigger by hand.
#[test]
fn no_set_grows_when_there_are_too_many_pods() {
    let mut world = world(4, rolling(2, 0));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "broken");
    assert_eq!(sizes(&world, &["one", "broken"]), [4, 2]);
    for name in world.names(SETS) {
        world.edit(SETS, &name, |set| {
            let (size, most) = if image(set) == "one" { (6, "6") } else { (3, "2") };
            set["spec"]["replicas"] = json!(size);
            set["metadata"]["annotations"][MOST] = json!(most);
            set["metadata"]["annotations"][DESIRED] = json!("2");
        });
    }
    let controller = CONTROLLERS.iter().find(|it| it.name == "deployment-controller").unwrap();
    let key = world.get(DEPLOYMENTS, "web").key().clone();
    world.decide(controller, &key);
    assert_eq!(sizes(&world, &["one", "broken"]), [3, 3]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = world(2, json!({"type": "Recreate"}));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "two");
    assert_eq!(sizes(&world, &["one", "two"]), [0, -1]);
    let ending = world.names("pods");
    world.stopped(&ending[0]);
    world.settle(ALL);
    assert_eq!(sizes(&world, &["one", "two"]), [0, -1]);
    let key = world.get(DEPLOYMENTS, "web").key().clone();
    let because = world.decide(&super::CONTROLLER, &key).because.unwrap();
    let said = format!("{}, which is of an older template, has not ended yet", ending[1]);
    assert_eq!((because.sentence, &*because.whom.unwrap().name), (said, &*ending[1]));
    world.stopped(&ending[1]);
    world.settle(ALL);
    assert_eq!(sizes(&world, &["one", "two"]), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = world(2, rolling(1, 1));
    finish(&mut world, &["one"]);
    world.edit(DEPLOYMENTS, "web", |it| {
        it["spec"]["paused"] = json!(true);
        it["spec"]["replicas"] = json!(4);
        it["spec"]["template"]["spec"]["containers"][0]["image"] = json!("two");
    });
    world.settle(ALL);
    assert_eq!(sizes(&world, &["one", "two"]), [4, -1]);
    assert_eq!(condition(&world, "Progressing")["reason"], "DeploymentPaused");
    world.edit(DEPLOYMENTS, "web", |it| it["spec"]["paused"] = json!(false));
    world.settle(ALL);
    finish(&mut world, &["one", "two"]);
    assert_eq!(sizes(&world, &["one", "two"]), [0, 4]);
}

#[test]
fn an_annotation_goes_to_the_set_without_a_roll_out() {
    let mut world = world(1, rolling(1, 0));
    finish(&mut world, &["one"]);
    world.edit(DEPLOYMENTS, "web", |it| {
        it["metadata"]["annotations"]["kubernetes.io/change-cause"] = json!("why");
        it["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            json!("{}");
    });
    world.settle(ALL);
    assert_eq!(world.names(SETS).len(), 1);
    assert_eq!(annotation(&world, "one", "kubernetes.io/change-cause").as_deref(), Some("why"));
    let kept = "kubectl.kubernetes.io/last-applied-configuration";
    assert_eq!(annotation(&world, "one", kept), None);
}

#[test]
fn old_sets_go_beyond_the_limit() {
    let mut world = world(1, rolling(1, 0));
    finish(&mut world, &["one"]);
    world.edit(DEPLOYMENTS, "web", |it| it["spec"]["revisionHistoryLimit"] = json!(1));
    for image in ["two", "three"] {
        roll_to(&mut world, image);
        finish(&mut world, &["one", "two", "three"]);
    }
    assert_eq!(sizes(&world, &["one", "two", "three"]), [-1, 0, 1]);
}

#[test]
fn a_foreign_set_with_the_same_name_is_left_alone() {
    let mut world = world(1, rolling(1, 0));
    let name = world.names(SETS).remove(0);
    let mut foreign = world.get(SETS, &name).value().clone();
    world.remove(&coracle_api::Key::new(SETS, "default", name.as_str()));
    foreign["metadata"] = json!({"name": name, "namespace": "default"});
    world.create(foreign);
    world.settle(ALL);
    assert_eq!(world.names(SETS).len(), 2);
    assert_eq!(status(&world)["collisionCount"], 1);
}

#[test]
fn sets_that_nobody_controls_are_adopted_by_their_template() {
    let mut world = world(1, rolling(1, 0));
    let name = world.names(SETS).remove(0);
    let key = coracle_api::Key::new(DEPLOYMENTS, "default", "web");
    world.edit(SETS, &name, |set| {
        set["metadata"]["ownerReferences"] = json!([]);
        set["metadata"]["annotations"][REVISION] = json!("3546343826724305832");
    });
    world.remove(&key);
    world.create(deployment(1, rolling(1, 0)));
    world.settle(ALL);
    assert_eq!(world.names(SETS), [name]);
    roll_to(&mut world, "two");
    let revision = annotation(&world, "two", REVISION);
    assert_eq!(revision.as_deref(), Some("3546343826724305833"));
}

#[test]
fn a_set_that_is_refused_is_told() {
    let mut world = World::new();
    world.creations_left = Some((0, "exceeded quota: q".into()));
    world.create(deployment(1, rolling(1, 0)));
    world.settle(&["deployment-controller"]);
    let progressing = condition(&world, "Progressing");
    assert_eq!(progressing["reason"], "ReplicaSetCreateError");
    let message = progressing["message"].as_str().unwrap();
    assert!(message.starts_with("Failed to create new replica set \"web-"), "{message}");
    assert!(message.ends_with("exceeded quota: q"), "{message}");
}

#[test]
fn an_old_number_is_rolled_back_to_when_the_annotation_asks() {
    let mut world = world(1, rolling(1, 0));
    finish(&mut world, &["one"]);
    roll_to(&mut world, "two");
    world.edit(DEPLOYMENTS, "web", |it| {
        it["metadata"]["annotations"]["deprecated.deployment.rollback.to"] = json!("0");
    });
    world.settle(ALL);
    finish(&mut world, &["one", "two"]);
    assert_eq!(sizes(&world, &["one", "two"]), [1, 0]);
    let told = "DeploymentRollback Rolled back deployment \"web\" to revision 1".to_owned();
    assert!(world.notes.contains(&told), "{:?}", world.notes);
}

#[test]
fn what_a_set_counted_before_it_shrank_is_not_taken_for_available() {
    let mut world = world(4, rolling(1, 1));
    finish(&mut world, &["one"]);
    let old = world.names(SETS).remove(0);
    roll_to(&mut world, "two");
    assert_eq!(sizes(&world, &["one", "two"]), [3, 2]);
    let is_new = |name: &String| !name.starts_with(&old);
    let new = world.names("pods").into_iter().find(is_new).unwrap();
    world.runs(&new, true);
    // As the set says it in the transaction that deletes a pod.
    world.edit(SETS, &old, |set| set["status"]["availableReplicas"] = json!(4));
    let set = world.names(SETS).into_iter().find(|name| *name != old).unwrap();
    world.edit(SETS, &set, |set| set["status"]["availableReplicas"] = json!(1));
    world.settle(&["deployment-controller"]);
    assert_eq!(sizes(&world, &["one", "two"]), [2, 3]);
}

#[test]
fn a_deadline_that_passes_while_it_is_deleted_is_not_looked_at_again() {
    let mut world = world(1, rolling(1, 1));
    world.edit(DEPLOYMENTS, "web", |it| it["metadata"]["finalizers"] = json!(["a.b/c"]));
    world.delete(DEPLOYMENTS, "web", None);
    world.settle(ALL);
    world.pass(3600, ALL);
    let key = world.get(DEPLOYMENTS, "web").key().clone();
    let plan = world.decide(&super::CONTROLLER, &key);
    assert!(plan.writes_nothing() && plan.look_again.is_none(), "{plan:?}");
}
