//! What holds whatever happens.

use proptest::prelude::*;
use serde_json::json;

use super::world::World;
use crate::planner::{HookKind, Outcome, ProbeKind};

/// Something that happens to a pod.
#[derive(Clone, Debug)]
enum Act {
    Pass(i64),
    Exit(usize, i32),
    LoseSandbox,
    Image(usize, bool),
    Live(bool),
    Delete(i64),
    Gone,
    RestartEngine,
    Hook(usize, HookKind, i64, bool),
}

const NAMES: [&str; 4] = ["init", "web", "side", "proxy"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0i64..60).prop_map(Act::Pass),
        3 => (0usize..4, prop_oneof![Just(0), Just(1)]).prop_map(|(who, code)| Act::Exit(who, code)),
        1 => Just(Act::LoseSandbox),
        1 => (0usize..4, any::<bool>()).prop_map(|(who, ok)| Act::Image(who, ok)),
        1 => any::<bool>().prop_map(Act::Live),
        1 => (0i64..40).prop_map(Act::Delete),
        1 => Just(Act::Gone),
        1 => Just(Act::RestartEngine),
        2 => (1usize..4, prop_oneof![Just(HookKind::PostStart), Just(HookKind::PreStop)],
              0i64..50, any::<bool>())
            .prop_map(|(who, kind, seconds, well)| Act::Hook(who, kind, seconds, well)),
    ];
    prop::collection::vec(act, 1..25)
}

fn play(world: &mut World, act: &Act) {
    match act {
        Act::Pass(seconds) => world.run(*seconds),
        Act::Exit(who, code) => {
            let name = NAMES[*who];
            let id = world.seen.containers.get(name).and_then(|seen| seen.current.clone());
            if let Some(instance) = id.filter(|it| it.is_running()) {
                world.exit(name, &instance.id, *code);
            }
        }
        Act::LoseSandbox if world.seen.sandbox.is_some() => world.seen.sandbox_died(world.now),
        Act::LoseSandbox => {}
        Act::Image(who, true) => drop(world.image_errors.remove(NAMES[*who])),
        Act::Image(who, false) => {
            world.image_errors.insert(NAMES[*who].into(), "ErrImagePull");
        }
        Act::Live(ok) => {
            let outcome = if *ok { Outcome::Success } else { Outcome::Failure("no".into()) };
            world.probes.insert(ProbeKind::Liveness, outcome);
        }
        Act::Delete(grace) => world.delete(*grace),
        Act::Gone => world.seen.gone = true,
        Act::RestartEngine => world.restart_engine(),
        Act::Hook(who, kind, seconds, well) => {
            world.hooks.insert((NAMES[*who].into(), *kind), (*seconds, *well));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The world itself asserts that no container runs twice, that none starts after the pod was
    /// deleted, and that plans come to rest.
    #[test]
    fn no_history_breaks_the_rules(
        acts in acts(),
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
    ) {
        let mut world = World::new(json!({
            "restartPolicy": policy,
            "initContainers": [
                {"name": "proxy", "image": "i", "restartPolicy": "Always",
                 "lifecycle": {"preStop": {"exec": {}}},
                 "startupProbe": {"exec": {}, "periodSeconds": 1}},
                {"name": "init", "image": "i"},
            ],
            "containers": [
                {"name": "web", "image": "i",
                 "livenessProbe": {"exec": {}, "periodSeconds": 2, "failureThreshold": 2}},
                {"name": "side", "image": "i",
                 "lifecycle": {"postStart": {"exec": {}}, "preStop": {"exec": {}}}},
            ],
        }));
        world.ends.insert("init".into(), (1, 0));
        let (mut ended, mut restarts) = (false, 0);
        for act in &acts {
            play(&mut world, act);
            world.settle();
            let phase = world.phase();
            let terminal = phase == "Succeeded" || phase == "Failed";
            prop_assert!(terminal || !ended, "{phase} after the end");
            ended = terminal;
            let count = world.container("web").restart_count;
            prop_assert!(count >= restarts, "restarts went from {restarts} to {count}");
            restarts = count;
        }
        // Once nothing more happens, the pod gets where it should be and stays there.
        world.probes.clear();
        world.image_errors.clear();
        world.hooks.clear();
        world.run(1000);
        let deleted = world.pod.metadata.deletion_timestamp.is_some();
        if deleted || world.seen.gone {
            prop_assert!(world.seen.sandbox.is_none() && !world.seen.volumes_ready);
            prop_assert!(world.deleted || world.seen.gone);
        } else {
            let phase = world.phase();
            prop_assert!(["Running", "Succeeded", "Failed"].contains(&phase.as_str()), "{}", phase);
            prop_assert!(policy != "Always" || phase == "Running");
        }
    }

    #[test]
    fn back_off_never_shrinks_while_a_container_keeps_failing(lengths in prop::collection::vec(0i64..500, 2..12)) {
        let mut world = World::new(json!({"containers": [{"name": "web", "image": "i"}]}));
        let mut last = 0;
        for length in lengths {
            world.ends.insert("web".into(), (length, 1));
            let seconds = || world.seen.containers.get("web").and_then(|it| it.current.as_ref()).map_or(0, |it| it.backoff_seconds);
            let now = seconds();
            prop_assert!(now >= last && now <= 300);
            last = now;
            world.run(length + 301);
        }
    }
}
