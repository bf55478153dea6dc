//! The strategy `Recreate` (KEP-3541): nothing new is made before the last pod of an older revision is
//! gone, and those go at once, whatever state they are in.

use std::ops::ControlFlow::{Break, Continue};

use super::draft::{Draft, Walk};
use super::progress::outdated;

impl Draft<'_> {
    /// Takes down what is of an older revision, also what is too many; the walk goes on when nothing
    /// of that is left. Claims stay.
    pub fn recreate(&mut self) -> Walk {
        let old = outdated(self.set, self.members, self.revisions);
        let Some(first) = old.first() else { return Continue(()) };
        let standing: Vec<_> = old.iter().filter(|member| !member.is_terminating()).collect();
        if !standing.is_empty() {
            let said = self.note("RecreateStarted", "Deleting all pods for Recreate update".into());
            self.plan.notes.push(said);
        }
        for member in standing {
            let is_condemned = !self.set.has_ordinal(member.ordinal);
            self.settle_owners(member, is_condemned);
            self.delete(member);
            self.status.forget(member);
        }
        self.wait_for(first, "is of an older template: nothing new is made before it is gone");
        Break(())
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::{Gate, Gates};
    use serde_json::json;

    use super::super::tests::{CONTROLLER, web};
    use crate::world::World;

    const PODS: [&str; 3] = ["web-0", "web-1", "web-2"];

    /// Three pods that serve.
    fn served(policy: &str, gates: Gates) -> World {
        let mut world = World::new();
        world.config.gates = gates;
        let mut set = web(3, policy);
        set["spec"]["updateStrategy"] = json!({"type": "Recreate"});
        world.create(set);
        world.settle(CONTROLLER);
        PODS.iter().for_each(|pod| world.ready(pod));
        world
    }

    fn on() -> Gates {
        Gates::on([Gate::StatefulSetRecreateStrategy])
    }

    fn going(world: &World) -> Vec<String> {
        let is_going = |pod: &String| world.get("pods", pod).metadata().is_deleting();
        world.names("pods").into_iter().filter(is_going).collect()
    }

    fn reason(world: &World) -> String {
        world.status()["conditions"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn all_old_pods_go_at_once_and_nothing_new_comes_before_the_last_is_gone() {
        for (policy, first) in [("OrderedReady", &PODS[..1]), ("Parallel", &PODS[..])] {
            let mut world = served(policy, on());
            assert_eq!(reason(&world), "RecreateComplete", "{policy}");
            world.unready("web-1");
            world.image("web:2");
            assert_eq!(going(&world), PODS, "{policy}");
            assert_eq!(reason(&world), "RecreateInProgress", "{policy}");
            for pod in ["web-2", "web-0"] {
                world.gone(pod);
                let because = world.because.clone().unwrap();
                assert!(because.contains(" is of an older template"), "{because}");
            }
            assert_eq!(world.names("pods"), ["web-1"], "{policy}");
            world.gone("web-1");
            assert_eq!(world.names("pods"), first, "{policy}");
            assert_eq!(world.names("persistentvolumeclaims").len(), 3, "claims stay");
            PODS.iter().for_each(|pod| world.ready(pod));
            let status = world.status();
            assert_eq!(status["currentRevision"], status["updateRevision"], "{policy}");
            let condition = &status["conditions"][0];
            assert_eq!(
                (&condition["type"], &condition["status"]),
                (&json!("Progressing"), &json!("True"))
            );
            assert_eq!(reason(&world), "RecreateComplete", "{policy}");
            let started = world.notes.iter().filter(|note| note.starts_with("RecreateStarted"));
            assert_eq!(started.count(), 1, "{policy}");
        }
    }

    #[test]
    fn what_is_too_many_goes_with_the_others() {
        let mut world = served("OrderedReady", on());
        world.change(|spec| {
            spec["replicas"] = json!(1);
            spec["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        });
        assert_eq!(going(&world), PODS);
        PODS.iter().for_each(|pod| world.gone(pod));
        assert_eq!(world.names("pods"), ["web-0"]);
    }

    #[test]
    fn a_pod_that_vanishes_is_made_again_without_the_others() {
        let mut world = served("OrderedReady", on());
        world.delete("pods", "web-1", None);
        world.gone("web-1");
        assert_eq!(world.names("pods"), PODS);
        assert!(going(&world).is_empty());
        assert_eq!(reason(&world), "RecreateComplete");
    }

    #[test]
    fn where_the_gate_is_off_it_rolls_and_says_nothing() {
        let mut world = served("OrderedReady", Gates::default());
        world.image("web:2");
        assert_eq!(going(&world), ["web-2"]);
        assert!(world.status()["conditions"].is_null());
    }
}
