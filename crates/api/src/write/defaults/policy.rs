//! What asks and what limits: webhooks, admission policies, flow control, drivers, devices.

use serde_json::{Map, Value, json};

use super::{each, ensure, set, set_zero, text, within};

/// A ValidatingWebhookConfiguration or MutatingWebhookConfiguration.
pub fn webhook_configuration(object: &mut Value) {
    let mutates = text(object, "kind") == "MutatingWebhookConfiguration";
    each(object, "webhooks", |hook| {
        set(hook, "failurePolicy", "Fail");
        set(hook, "matchPolicy", "Equivalent");
        set(hook, "namespaceSelector", Map::new());
        set(hook, "objectSelector", Map::new());
        set(hook, "timeoutSeconds", 10);
        if mutates {
            set(hook, "reinvocationPolicy", "Never");
        }
        each(hook, "rules", |rule| set(rule, "scope", "*"));
        within(hook, "clientConfig", |config| {
            within(config, "service", |service| set(service, "port", 443));
        });
    });
}

/// An admission policy.
pub fn admission_policy(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    set(spec, "failurePolicy", "Fail");
    within(spec, "matchConstraints", match_resources);
}

/// What binds an admission policy.
pub fn admission_binding(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    within(spec, "matchResources", match_resources);
}

fn match_resources(resources: &mut Value) {
    set(resources, "matchPolicy", "Equivalent");
    set(resources, "namespaceSelector", Map::new());
    set(resources, "objectSelector", Map::new());
    for list in ["resourceRules", "excludeResourceRules"] {
        each(resources, list, |rule| set(rule, "scope", "*"));
    }
}

/// An APIService.
pub fn api_service(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "service", |service| set(service, "port", 443));
    });
}

/// A FlowSchema.
pub fn flow_schema(object: &mut Value) {
    if let Some(spec) = ensure(object, "spec") {
        set_zero(spec, "matchingPrecedence", 1000);
    }
}

/// A PriorityLevelConfiguration.
pub fn priority_level(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    within(spec, "exempt", |level| {
        set(level, "nominalConcurrencyShares", 0);
        set(level, "lendablePercent", 0);
    });
    within(spec, "limited", |level| {
        set(level, "nominalConcurrencyShares", 30);
        set(level, "lendablePercent", 0);
        within(level, "limitResponse", |response| {
            within(response, "queuing", |queuing| {
                set_zero(queuing, "handSize", 8);
                set_zero(queuing, "queues", 64);
                set_zero(queuing, "queueLengthLimit", 50);
            });
        });
    });
}

/// An IngressClass.
pub fn ingress_class(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "parameters", |parameters| set(parameters, "scope", "Cluster"));
    });
}

/// A CSIDriver.
pub fn csi_driver(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
    let modes = spec.get("volumeLifecycleModes").and_then(Value::as_array);
    if modes.is_none_or(Vec::is_empty)
        && let Value::Object(spec) = spec
    {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
}

/// A ResourceClaim.
pub fn resource_claim(object: &mut Value) {
    within(object, "spec", claim_spec);
}

/// A ResourceClaimTemplate.
pub fn resource_claim_template(object: &mut Value) {
    within(object, "spec", |spec| within(spec, "spec", claim_spec));
}

fn claim_spec(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            within(request, "exactly", device_request);
            each(request, "firstAvailable", device_request);
        });
    });
}

fn device_request(request: &mut Value) {
    set_zero(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        set_zero(request, "count", 1);
    }
    each(request, "tolerations", |toleration| {
        set_zero(toleration, "operator", "Equal");
    });
}
