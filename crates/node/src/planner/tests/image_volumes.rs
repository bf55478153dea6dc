//! Volumes that are images.

use serde_json::json;

use super::world::World;

fn world() -> World {
    World::new(json!({
        "containers": [
            {"name": "web", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            {"name": "other", "image": "i"},
        ],
        "volumes": [{"name": "data", "image": {"reference": "data:1"}}],
    }))
}

#[test]
fn a_container_waits_for_the_images_that_it_mounts_and_others_do_not() {
    let mut world = world();
    world.image_errors.insert("volume data".to_owned(), "ErrImagePull");
    world.settle();
    assert_eq!(world.state("web"), "Waiting ErrImagePull");
    assert_eq!(world.state("other"), "Running");
    world.run(5);
    assert_eq!(world.state("web"), "Waiting ImagePullBackOff");
    let waiting = world.container("web").state.unwrap().waiting.unwrap();
    let message = "Back-off pulling image \"data:1\": ErrImagePull: no";
    assert_eq!(waiting.message.as_deref(), Some(message));
    let done = world.take();
    assert!(
        done.contains(&"event BackOff Back-off pulling image \"data:1\"".to_owned()),
        "{done:?}"
    );
    world.image_errors.clear();
    world.run(20);
    assert_eq!(world.state("web"), "Running");
    // It is there for as long as its sandbox is.
    world.take();
    world.image_errors.insert("volume data".to_owned(), "ErrImagePull");
    let id = world.seen.containers["web"].current.clone().unwrap().id;
    world.exit("web", &id, 1);
    world.run(5);
    assert_eq!(world.state("web"), "Running");
    // But not if a start has failed, which may be for want of it.
    world.image_errors.clear();
    let id = world.seen.containers["web"].current.clone().unwrap().id;
    world.exit("web", &id, 1);
    world.seen.start_failed("web", "CreateContainerError", "image not found".into(), world.now);
    world.image_errors.insert("volume data".to_owned(), "ErrImageNeverPull");
    world.run(30);
    assert_eq!(world.state("web"), "Waiting ErrImageNeverPull");
}
