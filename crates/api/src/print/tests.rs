use serde_json::json;

use super::*;
use crate::kinds::Kinds;

/// 2026-01-02T00:00:00Z, a day after the objects of these tests were created.
fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

fn options(include: IncludeObject) -> TableOptions {
    TableOptions { now: now(), include, headers: true, version: "v1" }
}

/// The table of one object of a kind.
fn table_of_one(api_version: &str, kind: &str, object: &Value) -> Value {
    let kinds = Kinds::builtin();
    let kind = kinds.of_object(api_version, kind).unwrap();
    table(kind, [object], json!({}), &options(IncludeObject::None))
}

/// Its cells as `NAME=TEXT`, only those asked for.
fn show(api_version: &str, kind: &str, mut object: Value, columns: &[&str]) -> Vec<String> {
    if object["metadata"].is_null() {
        object["metadata"] = json!({"name": "x"});
    }
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let table = table_of_one(api_version, kind, &object);
    let names = table["columnDefinitions"].as_array().unwrap().iter();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(names.len(), cells.len());
    columns
        .iter()
        .map(|wanted| {
            let at = names.clone().position(|column| column["name"] == **wanted).unwrap();
            cells[at].as_str().map_or_else(|| cells[at].to_string(), str::to_string)
        })
        .collect()
}

fn pod(status: Value) -> Vec<String> {
    let pod = json!({
        "spec": {
            "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        },
        "status": status,
    });
    show("v1", "Pod", pod, &["Ready", "Status", "Restarts"])
}

fn initialized() -> Value {
    json!([
        {"name": "setup", "state": {"terminated": {"exitCode": 0}}},
        {"name": "proxy", "started": true, "ready": true, "state": {"running": {}}},
    ])
}

#[test]
fn a_pod_that_initializes_says_how_far_it_is() {
    assert_eq!(pod(json!({"phase": "Pending"})), ["0/3", "Pending", "0"]);
    let of = |first: Value| {
        pod(
            json!({"phase": "Pending", "initContainerStatuses": [first, {"name": "proxy", "state": {}}]}),
        )
    };
    let waiting = |reason| json!({"name": "setup", "state": {"waiting": {"reason": reason}}});
    assert_eq!(of(waiting("PodInitializing")), ["0/3", "Init:0/2", "0"]);
    assert_eq!(of(waiting("ErrImagePull")), ["0/3", "Init:ErrImagePull", "0"]);
    let ended = |state| json!({"name": "setup", "restartCount": 2, "state": {"terminated": state}});
    assert_eq!(of(ended(json!({"exitCode": 0}))), ["0/3", "Init:1/2", "2"]);
    assert_eq!(of(ended(json!({"exitCode": 3}))), ["0/3", "Init:ExitCode:3", "2"]);
    assert_eq!(of(ended(json!({"exitCode": 137, "signal": 9}))), ["0/3", "Init:Signal:9", "2"]);
    assert_eq!(of(ended(json!({"exitCode": 1, "reason": "Error"}))), ["0/3", "Init:Error", "2"]);
}

#[test]
fn a_pod_that_runs_shows_its_first_containers_trouble() {
    let of = |a: Value, b: Value| {
        pod(json!({
            "phase": "Running",
            "initContainerStatuses": initialized(),
            "containerStatuses": [a, b],
            "conditions": [{"type": "Ready", "status": "True"}],
        }))
    };
    let running = |name| json!({"name": name, "ready": true, "state": {"running": {}}});
    assert_eq!(of(running("a"), running("b")), ["3/3", "Running", "0"]);
    let crashing = json!({
        "name": "b", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T23:55:00Z"}},
    });
    assert_eq!(of(running("a"), crashing), ["2/3", "CrashLoopBackOff", "4 (5m ago)"]);
    let done =
        json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    assert_eq!(of(running("a"), done.clone()), ["2/3", "Running", "0"]);
    let failed = json!({"name": "a", "state": {"terminated": {"exitCode": 2}}});
    assert_eq!(of(failed, done), ["1/3", "ExitCode:2", "0"]);
}

#[test]
fn a_completed_container_does_not_hide_one_that_runs_or_failed() {
    let of = |status: Value| {
        let mut status = status;
        status["initContainerStatuses"] = initialized();
        pod(status)[1].clone()
    };
    let done =
        json!({"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let running = json!({"name": "b", "ready": true, "state": {"running": {}}});
    let failed = json!({"name": "b", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    assert_eq!(of(json!({"phase": "Running", "containerStatuses": [done, running]})), "NotReady");
    assert_eq!(of(json!({"phase": "Failed", "containerStatuses": [done, failed]})), "Error");
    assert_eq!(of(json!({"phase": "Succeeded", "containerStatuses": [done]})), "Completed");
}

#[test]
fn a_pod_that_goes_is_gated_or_lost_says_so() {
    let of = |metadata: Value, status: Value| {
        let pod = json!({"metadata": metadata, "spec": {"containers": [{}]}, "status": status});
        show("v1", "Pod", pod, &["Status"]).remove(0)
    };
    let going = || json!({"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(of(going(), json!({"phase": "Running"})), "Terminating");
    assert_eq!(of(going(), json!({"phase": "Succeeded"})), "Succeeded");
    assert_eq!(of(going(), json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
    assert_eq!(of(json!({}), json!({"phase": "Failed", "reason": "Evicted"})), "Evicted");
    let gate = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    assert_eq!(of(json!({}), json!({"phase": "Pending", "conditions": gate})), "SchedulingGated");
}

#[test]
fn the_row_of_an_ended_pod_has_a_condition() {
    let of = |phase| {
        let pod = json!({"metadata": {"name": "x"}, "status": {"phase": phase}});
        table_of_one("v1", "Pod", &pod)["rows"][0]["conditions"].clone()
    };
    assert_eq!(of("Succeeded")[0]["reason"], "Succeeded");
    assert_eq!(of("Failed")[0]["message"], "The pod failed.");
    assert!(of("Running").is_null());
}

#[test]
fn wide_cells_of_a_pod() {
    let pod = json!({
        "spec": {"readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        "status": {"podIPs": [{"ip": "10.244.0.2"}], "conditions": [{"type": "a", "status": "True"}]},
    });
    let columns = ["IP", "Node", "Nominated Node", "Readiness Gates"];
    assert_eq!(show("v1", "Pod", pod, &columns), ["10.244.0.2", "<none>", "<none>", "1/2"]);
}

#[test]
fn a_stateful_set_is_shown_as_upstream_shows_it() {
    let set = json!({
        "spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "web", "image": "nginx"}, {"name": "log", "image": "busybox"},
        ]}}},
        "status": {"readyReplicas": 2},
    });
    let columns = ["Name", "Ready", "Age", "Containers", "Images"];
    let cells = show("apps/v1", "StatefulSet", set, &columns);
    assert_eq!(cells, ["x", "2/3", "24h", "web,log", "nginx,busybox"]);
}

#[test]
fn a_table_describes_its_columns_once_and_brings_what_is_asked_for() {
    let kinds = Kinds::builtin();
    let kind = kinds.of_object("apps/v1", "Deployment").unwrap();
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"b": "2", "a": "1"}}},
    });
    let list = json!({"resourceVersion": "7"});
    let full = table(kind, [&object], list.clone(), &options(IncludeObject::Metadata));
    assert_eq!(full["kind"], "Table");
    assert_eq!(full["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(full["metadata"]["resourceVersion"], "7");
    assert_eq!(full["columnDefinitions"][0]["format"], "name");
    assert_eq!(full["columnDefinitions"][5]["priority"], 1);
    let row = &full["rows"][0];
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["metadata"]["name"], "x");
    // Numbers although the columns are declared as strings.
    assert_eq!(row["cells"], json!(["x", "0/1", 0, 0, "24h", "", "", "a=1,b=2"]));

    let later = TableOptions { headers: false, ..options(IncludeObject::Object) };
    let event = table(kind, [&object], json!({}), &later);
    assert_eq!(event["columnDefinitions"], json!([]));
    assert_eq!(event["rows"][0]["object"], object);
    assert_eq!(IncludeObject::parse(""), Some(IncludeObject::Metadata));
    assert_eq!(IncludeObject::parse("Everything"), None);
}

#[test]
fn every_kind_that_can_be_listed_has_a_row() {
    let kinds = Kinds::builtin();
    let empty = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    for kind in kinds.iter().filter(|kind| has_table(kind)) {
        let table = table(kind, [&empty], json!({}), &options(IncludeObject::None));
        let columns = table["columnDefinitions"].as_array().unwrap();
        assert!(columns.iter().any(|column| column["name"] == "Name"), "{}", kind.plural);
        for (column, cell) in columns.iter().zip(table["rows"][0]["cells"].as_array().unwrap()) {
            let fits = match column["type"].as_str().unwrap() {
                "integer" => cell.is_i64() || cell.is_u64(),
                "boolean" => cell.is_boolean() || column["name"] == "Suspend",
                _ => !cell.is_null(),
            };
            assert!(fits, "{} {column} {cell}", kind.plural);
        }
    }
    assert!(!has_table(kinds.of_object("authorization.k8s.io/v1", "SubjectAccessReview").unwrap()));
}

#[test]
fn a_kind_without_columns_shows_when_it_was_created() {
    let cells = show("rbac.authorization.k8s.io/v1", "Role", json!({}), &["Name", "Created At"]);
    assert_eq!(cells, ["x", "2026-01-01T00:00:00Z"]);
}

#[test]
fn a_scale_shows_what_is_wanted_and_what_there_is() {
    let scale = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 3}, "status": {"replicas": 2},
    });
    let table = table_of(SCALE, [&scale], json!({}), &options(IncludeObject::None));
    assert_eq!(table["rows"][0]["cells"], json!(["web", 3, 2, "24h"]));
}

#[test]
fn jobs_and_cron_jobs() {
    let columns = ["Status", "Completions", "Duration"];
    let running = json!({
        "spec": {"completions": 3, "parallelism": 2},
        "status": {"succeeded": 1, "startTime": "2026-01-01T23:59:00Z"},
    });
    assert_eq!(show("batch/v1", "Job", running, &columns), ["Running", "1/3", "60s"]);
    let done = json!({
        "spec": {"parallelism": 2},
        "status": {
            "succeeded": 2,
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:05Z",
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}],
        },
    });
    assert_eq!(show("batch/v1", "Job", done, &columns), ["Complete", "2/1 of 2", "5s"]);
    assert_eq!(show("batch/v1", "Job", json!({}), &columns), ["Running", "0/1", ""]);

    let cron = json!({
        "spec": {"schedule": "* * * * *", "suspend": false},
        "status": {"active": [{}], "lastScheduleTime": "2026-01-01T23:59:30Z"},
    });
    let columns = ["Schedule", "Timezone", "Suspend", "Active", "Last Schedule", "Selector"];
    let cells = show("batch/v1", "CronJob", cron, &columns);
    assert_eq!(cells, ["* * * * *", "<none>", "False", "1", "30s", "<none>"]);
}

#[test]
fn the_controller_of_a_revision_has_its_group() {
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true});
    let revision = json!({"metadata": {"name": "x", "ownerReferences": [owner]}, "revision": 4});
    let cells = show("apps/v1", "ControllerRevision", revision, &["Controller", "Revision"]);
    assert_eq!(cells, ["statefulset.apps/web", "4"]);
}

#[test]
fn autoscalers_of_both_versions_show_their_targets() {
    let metric =
        |name, target| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let hpa = json!({
        "spec": {
            "scaleTargetRef": {"kind": "StatefulSet", "name": "web"}, "maxReplicas": 5,
            "metrics": [
                metric("cpu", json!({"averageUtilization": 80})),
                metric("memory", json!({"averageValue": "64Mi"})),
                {"type": "Pods", "pods": {"target": {"averageValue": "1k"}}},
            ],
        },
        "status": {"currentMetrics": [
            {"type": "Resource", "resource": {"current": {"averageUtilization": 20}}},
        ]},
    });
    let columns = ["Reference", "Targets", "MinPods", "MaxPods"];
    let cells = show("autoscaling/v2", "HorizontalPodAutoscaler", hpa, &columns);
    let targets = "cpu: 20%/80%, memory: <unknown>/64Mi + 1 more...";
    assert_eq!(cells, ["StatefulSet/web", targets, "<unset>", "5"]);
    let old = json!({"spec": {"targetCPUUtilizationPercentage": 70}});
    let cells = show("autoscaling/v1", "HorizontalPodAutoscaler", old, &["Targets"]);
    assert_eq!(cells, ["cpu: <unknown>/70%"]);
    let external = json!({"spec": {"metrics": [
        {"type": "External", "external": {"target": {"averageValue": "3"}}},
        {"type": "Object", "object": {"target": {"value": "9"}}},
    ]}});
    let cells = show("autoscaling/v2", "HorizontalPodAutoscaler", external, &["Targets"]);
    assert_eq!(cells, ["<unknown>/3 (avg), <unknown>/9"]);
}

#[test]
fn services_of_every_type() {
    let columns = ["Cluster-IP", "External-IP", "Port(s)", "Selector"];
    let of = |spec: Value, status: Value| {
        show("v1", "Service", json!({"spec": spec, "status": status}), &columns)
    };
    let port = json!({"port": 80, "protocol": "TCP"});
    let headless = json!({"type": "ClusterIP", "clusterIPs": ["None"], "ports": [port], "selector": {"app": "a"}});
    assert_eq!(of(headless, json!({})), ["None", "<none>", "80/TCP", "app=a"]);
    let balanced = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "externalIPs": ["1.2.3.4"],
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
    });
    let status =
        json!({"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "a.example"}]}});
    let expected = ["10.96.0.9", "9.9.9.9,a.example,1.2.3.4", "80:30080/TCP,53/UDP", "<none>"];
    assert_eq!(of(balanced, status), expected);
    let pending = of(json!({"type": "LoadBalancer"}), json!({}));
    assert_eq!(pending, ["<none>", "<pending>", "<none>", "<none>"]);
    let name = of(json!({"type": "ExternalName", "externalName": "example.com"}), json!({}));
    assert_eq!(name[1], "example.com");
}

#[test]
fn endpoints_and_slices_show_three_and_count_the_rest() {
    let address = |ip: &str| json!({"ip": ip});
    let subset = json!({
        "addresses": [address("10.0.0.1"), address("fd00::1")],
        "ports": [{"port": 80}, {"port": 443}],
    });
    let of = |subsets: Value| show("v1", "Endpoints", json!({"subsets": subsets}), &["Endpoints"]);
    assert_eq!(of(json!([subset])), ["10.0.0.1:80,[fd00::1]:80,10.0.0.1:443 + 1 more..."]);
    assert_eq!(of(json!([{"addresses": [address("10.0.0.1")]}])), ["10.0.0.1"]);
    assert_eq!(of(json!([])), ["<none>"]);

    let slice = json!({
        "addressType": "IPv4",
        "ports": [{"port": 80}, {"name": "web"}, {}],
        "endpoints": [{"addresses": ["a"]}, {"addresses": ["b"]}, {"addresses": ["c"]}, {"addresses": ["d"]}],
    });
    let columns = ["AddressType", "Ports", "Endpoints"];
    let cells = show("discovery.k8s.io/v1", "EndpointSlice", slice, &columns);
    assert_eq!(cells, ["IPv4", "80,web,*", "a,b,c + 1 more..."]);
    let empty = show("discovery.k8s.io/v1", "EndpointSlice", json!({}), &columns);
    assert_eq!(empty, ["", "<unset>", "<unset>"]);
}

#[test]
fn ingresses_policies_and_addresses() {
    let networking = "networking.k8s.io/v1";
    let rules: Vec<Value> = ["a", "b", "c", "d"].map(|host| json!({"host": host})).into();
    let ingress = json!({
        "spec": {"rules": rules, "tls": [{}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}]}},
    });
    let columns = ["Class", "Hosts", "Address", "Ports"];
    let cells = show(networking, "Ingress", ingress, &columns);
    assert_eq!(cells, ["<none>", "a,b,c + 1 more...", "9.9.9.9", "80, 443"]);
    assert_eq!(show(networking, "Ingress", json!({}), &columns), ["<none>", "*", "", "80"]);

    let class = json!({
        "metadata": {"name": "x", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "c", "parameters": {"apiGroup": "g.io", "kind": "P", "name": "n"}},
    });
    let cells = show(networking, "IngressClass", class, &["Name", "Controller", "Parameters"]);
    assert_eq!(cells, ["x (default)", "c", "P.g.io/n"]);

    let policy = json!({"spec": {"podSelector": {
        "matchLabels": {"b": "1"},
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}],
    }}});
    let cells = show(networking, "NetworkPolicy", policy, &["Pod-Selector"]);
    assert_eq!(cells, ["a in (x,y),b=1"]);
    let all = json!({"spec": {"podSelector": {}}});
    assert_eq!(show(networking, "NetworkPolicy", all, &["Pod-Selector"]), ["<none>"]);

    let parent = json!({"resource": "services", "namespace": "default", "name": "web"});
    let address = json!({"spec": {"parentRef": parent}});
    let cells = show(networking, "IPAddress", address, &["ParentRef"]);
    assert_eq!(cells, ["services/default/web"]);
    let cidr = json!({"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}});
    assert_eq!(show(networking, "ServiceCIDR", cidr, &["CIDRs"]), ["10.96.0.0/12,fd00::/108"]);
}

#[test]
fn nodes_show_roles_addresses_and_whether_they_take_pods() {
    let node = json!({
        "metadata": {"name": "n", "labels": {
            "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "",
            "kubernetes.io/role": "extra",
        }},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0", "kernelVersion": "6.1", "architecture": "amd64"},
        },
    });
    let columns =
        ["Status", "Roles", "Version", "Internal-IP", "External-IP", "OS-Image", "Kernel-Version"];
    let cells = show("v1", "Node", node, &columns);
    assert_eq!(cells[..2], ["Ready,SchedulingDisabled", "control-plane,extra,worker"]);
    assert_eq!(cells[2..], ["v1.37.0", "10.0.0.1", "<none>", "<unknown>", "6.1 (amd64)"]);
    let lost = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    assert_eq!(show("v1", "Node", lost, &["Status", "Roles"]), ["NotReady", "<none>"]);
    assert_eq!(show("v1", "Node", json!({}), &["Status"]), ["Unknown"]);
}

#[test]
fn events_of_both_groups_look_alike() {
    let columns =
        ["Last Seen", "Type", "Reason", "Object", "Source", "Message", "First Seen", "Count"];
    let old = json!({
        "type": "Normal", "reason": "Pulled", "message": " pulled \n", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "web-0"},
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:50Z",
    });
    let cells = show("v1", "Event", old, &columns);
    assert_eq!(
        cells,
        ["10s", "Normal", "Pulled", "pod/web-0", "kubelet, n1", "pulled", "60m", "3"]
    );
    let new = json!({
        "type": "Warning", "reason": "Failed", "note": "no",
        "regarding": {"kind": "Node"},
        "reportingController": "c", "eventTime": "2026-01-01T23:58:00.000000Z",
        "series": {"count": 9, "lastObservedTime": "2026-01-01T23:59:59.000000Z"},
    });
    let cells = show("events.k8s.io/v1", "Event", new, &columns);
    assert_eq!(cells, ["1s", "Warning", "Failed", "node", "c", "no", "2m", "9"]);
}

#[test]
fn volumes_and_claims() {
    let volume = json!({
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "standard",
            "claimRef": {"namespace": "default", "name": "data"}, "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound"},
    });
    let columns = [
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
        "StorageClass",
        "VolumeAttributesClass",
        "VolumeMode",
    ];
    let cells = show("v1", "PersistentVolume", volume, &columns);
    assert_eq!(cells[..5], ["1Gi", "RWO,RWX", "Delete", "Bound", "default/data"]);
    assert_eq!(cells[5..], ["standard", "<unset>", "Filesystem"]);

    let claim = |name: &str| {
        json!({
            "metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
            "spec": {"volumeName": name},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"]},
        })
    };
    let columns = ["Status", "Volume", "Capacity", "Access Modes", "StorageClass"];
    let bound = show("v1", "PersistentVolumeClaim", claim("pv"), &columns);
    assert_eq!(bound, ["Terminating", "pv", "1Gi", "RWOP", "old"]);
    let unbound = show("v1", "PersistentVolumeClaim", claim(""), &columns);
    assert_eq!(unbound[1..4], ["", "", ""]);
}

#[test]
fn classes_and_drivers() {
    let class = json!({
        "metadata": {"name": "x", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "p",
    });
    let columns =
        ["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion"];
    let cells = show("storage.k8s.io/v1", "StorageClass", class, &columns);
    assert_eq!(cells, ["x (default)", "p", "Delete", "Immediate", "false"]);
    let driver = json!({"spec": {
        "tokenRequests": [{"audience": "a"}, {"audience": "b"}],
        "volumeLifecycleModes": ["Persistent", "Ephemeral"],
    }});
    let columns = ["AttachRequired", "TokenRequests", "Modes"];
    let cells = show("storage.k8s.io/v1", "CSIDriver", driver, &columns);
    assert_eq!(cells, ["true", "a,b", "Persistent,Ephemeral"]);
    let claim = json!({"status": {"allocation": {}, "reservedFor": [{}]}});
    assert_eq!(
        show("resource.k8s.io/v1", "ResourceClaim", claim, &["State"]),
        ["allocated,reserved"]
    );
    let pending = show("resource.k8s.io/v1", "ResourceClaim", json!({}), &["State"]);
    assert_eq!(pending, ["pending"]);
}

#[test]
fn small_things_of_the_core_group() {
    let map = json!({"data": {"a": "1"}, "binaryData": {"b": "", "c": ""}});
    assert_eq!(show("v1", "ConfigMap", map, &["Data"]), ["3"]);
    let secret = json!({"type": "Opaque", "data": {"a": ""}});
    assert_eq!(show("v1", "Secret", secret, &["Type", "Data"]), ["Opaque", "1"]);
    let quota = json!({"status": {
        "hard": {"pods": "10", "limits.cpu": "4", "cpu": "2"}, "used": {"pods": "3", "limits.cpu": "1"},
    }});
    let cells = show("v1", "ResourceQuota", quota, &["Request", "Limit"]);
    assert_eq!(cells, ["cpu: 0/2, pods: 3/10", "limits.cpu: 1/4"]);
    let component = json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
    let cells = show("v1", "ComponentStatus", component, &["Status", "Message", "Error"]);
    assert_eq!(cells, ["Healthy", "ok", ""]);
}

#[test]
fn access_and_admission() {
    let binding = json!({
        "roleRef": {"kind": "ClusterRole", "name": "admin"},
        "subjects": [
            {"kind": "User", "name": "a"}, {"kind": "User", "name": "b"},
            {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
        ],
    });
    let columns = ["Role", "Users", "Groups", "ServiceAccounts"];
    let cells = show("rbac.authorization.k8s.io/v1", "RoleBinding", binding, &columns);
    assert_eq!(cells, ["ClusterRole/admin", "a, b", "g", "n/s"]);

    let request = json!({
        "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
        "status": {"certificate": "x", "conditions": [{"type": "Approved", "status": "True"}]},
    });
    let columns = ["SignerName", "Requestor", "RequestedDuration", "Condition"];
    let cells = show("certificates.k8s.io/v1", "CertificateSigningRequest", request, &columns);
    assert_eq!(cells, ["s", "u", "60m", "Approved,Issued"]);

    let admission = "admissionregistration.k8s.io/v1";
    let policy = json!({"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
    let columns = ["Validations", "ParamKind"];
    let cells = show(admission, "ValidatingAdmissionPolicy", policy, &columns);
    assert_eq!(cells, ["1", "v1/ConfigMap"]);
    let of = |param: Value| {
        let binding = json!({"spec": {"policyName": "p", "paramRef": param}});
        show(admission, "ValidatingAdmissionPolicyBinding", binding, &["ParamRef"]).remove(0)
    };
    assert_eq!(of(json!({"name": "c", "namespace": "n"})), "n/c");
    assert_eq!(of(json!({"name": "c"})), "*/c");
    assert_eq!(of(Value::Null), "<unset>");

    let service = json!({"status": {"conditions": [
        {"type": "Available", "status": "False", "reason": "MissingEndpoints"},
    ]}});
    let columns = ["Service", "Available"];
    let cells = show("apiregistration.k8s.io/v1", "APIService", service, &columns);
    assert_eq!(cells, ["Local", "False (MissingEndpoints)"]);
}
