//! Evictions, and the budgets that they ask.

use super::*;

impl Harness {
    fn put_status(&self, plural: &str, name: &str, status: Value) {
        let mut value = self.get(plural, name).unwrap();
        value["status"] = status;
        let mut request = self.request(Verb::Update, plural, "default", name);
        request.subresource = Some(coracle_api::Subresource::Status);
        self.call(Request { body: Body::Object(value), ..request }).unwrap();
    }

    /// A pod on a node that runs, Ready or not.
    fn runs(&self, name: &str, ready: &str) {
        let mut value = pod(name, json!({"nodeName": "node-1"}));
        value["metadata"]["labels"] = json!({"app": "web"});
        self.create("pods", "default", value).unwrap();
        let conditions = json!([{"type": "Ready", "status": ready}]);
        self.put_status("pods", name, json!({"phase": "Running", "conditions": conditions}));
    }

    /// A budget over all of them that its controller has counted.
    fn budget(&self, name: &str, policy: &str, (allowed, healthy, desired): (i64, i64, i64)) {
        let spec = json!({
            "selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1,
            "unhealthyPodEvictionPolicy": policy,
        });
        let body = json!({"metadata": {"name": name}, "spec": spec});
        self.create("poddisruptionbudgets", "default", body).unwrap();
        let status = json!({
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": desired, "expectedPods": 3,
        });
        self.put_status("poddisruptionbudgets", name, status);
    }

    fn evict(&self, name: &str, options: Value) -> Result<(), Status> {
        let mut request = self.request(Verb::Create, "pods", "default", name);
        request.subresource = coracle_api::Subresource::parse("eviction");
        let body = json!({"metadata": {"name": name}, "deleteOptions": options});
        self.call(Request { body: Body::Object(body), ..request }).map(drop)
    }

    fn allowed(&self, name: &str) -> Value {
        self.get("poddisruptionbudgets", name).unwrap()["status"]["disruptionsAllowed"].clone()
    }
}

#[test]
fn a_pod_that_is_evicted_says_so_and_is_taken_from_its_budget() {
    let api = Harness::new();
    api.runs("a", "True");
    api.budget("b", "IfHealthyBudget", (1, 3, 2));
    api.evict("a", json!({"dryRun": ["All"]})).unwrap();
    assert_eq!(api.allowed("b"), 1);
    api.evict("a", json!({})).unwrap();
    let pod = api.get("pods", "a").unwrap();
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!(target["status"], "True");
    assert_eq!(target["reason"], "EvictionByEvictionAPI");
    assert_eq!(target["message"], "Eviction API: evicting");
    assert_eq!(api.allowed("b"), 0);
    let status = api.get("poddisruptionbudgets", "b").unwrap()["status"].clone();
    assert!(status["disruptedPods"]["a"].is_string());
}

#[test]
fn a_budget_with_nothing_left_says_what_it_needs() {
    let api = Harness::new();
    api.runs("a", "True");
    api.budget("b", "IfHealthyBudget", (0, 2, 2));
    let refused = api.evict("a", json!({})).unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (429, "TooManyRequests"));
    let details = refused.details.unwrap();
    let cause = &details.causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    let why = "The disruption budget b needs 2 healthy pods and has 2 currently";
    assert_eq!(cause.message, why);
}

#[test]
fn a_pod_that_is_not_ready_goes_where_its_budget_is_kept_or_does_not_mind() {
    for (policy, counts, goes) in [
        ("IfHealthyBudget", (0, 2, 2), true),
        ("IfHealthyBudget", (0, 1, 2), false),
        // Nobody is wanted: that is no healthy budget.
        ("IfHealthyBudget", (0, 0, 0), false),
        ("AlwaysAllow", (0, 1, 2), true),
    ] {
        let api = Harness::new();
        api.runs("a", "False");
        api.budget("b", policy, counts);
        assert_eq!(api.evict("a", json!({})).is_ok(), goes, "{policy} {counts:?}");
        assert_eq!(api.allowed("b"), 0);
    }
}

#[test]
fn two_budgets_are_one_too_many_and_a_pending_pod_needs_none() {
    let api = Harness::new();
    api.runs("a", "True");
    api.budget("b", "IfHealthyBudget", (1, 3, 2));
    api.budget("c", "IfHealthyBudget", (1, 3, 2));
    let refused = api.evict("a", json!({})).unwrap_err();
    assert_eq!(refused.code, 500);
    let mut waiting = pod("w", json!({}));
    waiting["metadata"]["labels"] = json!({"app": "web"});
    api.create("pods", "default", waiting).unwrap();
    api.evict("w", json!({})).unwrap();
    assert!(api.get("pods", "w").is_err());
}
