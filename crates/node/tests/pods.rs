//! Pods that really run.

mod world;

use std::time::Duration;

use coracle_node::Ending;
use coracle_server::LogOptions;
use serde_json::{Value, json};
use world::{condition, run, within};

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

#[test]
fn a_pod_runs_answers_and_goes() {
    run(async |world| {
        let web = json!({
            "command": ["httpd", "-f", "-h", "/www"],
            "readinessProbe": {"httpGet": {"path": "/index.html", "port": 80}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        });
        world.create_pod("web", web).await;
        let pod = world.until_ready("web").await;
        assert_eq!(pod["status"]["phase"], "Running");
        let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)));
        assert_eq!(
            world.exec("web", "echo $IP; hostname; exit 3").await,
            (3, format!("{ip}\nweb\n"))
        );
        let hosts = world.exec("web", "cat /etc/hosts").await.1;
        assert!(hosts.contains(&format!("{ip}\tweb\n")), "{hosts}");
        let token = "cat /var/run/secrets/kubernetes.io/serviceaccount/token | wc -c";
        let length: usize = world.exec("web", token).await.1.trim().parse().unwrap();
        assert!(length > 100);
        world.until_event("web Started Container started").await;
        world.until_event("web Pulled Container image \"busybox:test\" already present on machine and can be accessed by the pod").await;
        let mut stream = world.streams().connect("default", "web", 80).await.unwrap();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");

        world.delete("pods", "web", json!({})).await.unwrap();
        world.until_gone("pods", "web").await;
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        assert!(!world.path("pods").join(uid).exists());
        world.until_event("web Killing Stopping container c").await;
    });
}

/// Whoever waits with a snapshot in its hand keeps all there was at that time.
#[test]
fn a_node_at_rest_keeps_nothing_that_was() {
    run(async |world| {
        world.create_pod("web", shell(FOREVER)).await;
        world.until_ready("web").await;
        let metadata = json!({"name": "former", "namespace": "default"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        world.create("configmaps", map).await;
        world.stop_node().await;
        world.start_node().await;
        world.until_ready("web").await;
        let former = world.version("configmaps", "former");
        world.delete("configmaps", "former", json!({})).await.unwrap();
        world.forget_events();
        within(async {
            while former.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    });
}

#[test]
fn logs_of_this_run_and_the_one_before() {
    run(async |world| {
        world.create_pod("talk", shell("echo to out; echo to err >&2; exit 7")).await;
        world
            .until("pods", "talk", |pod| {
                let status = &pod["status"]["containerStatuses"][0];
                status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
            .await;
        let pod = world.pod("talk");
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 7);
        assert_eq!(status["lastState"]["terminated"]["reason"], "Error");
        assert_eq!(status["restartCount"], 1);
        for previous in [false, true] {
            let options = LogOptions { previous, ..LogOptions::default() };
            let text = world.logs("talk", options).await.unwrap();
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["to err", "to out"]);
        }
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let message = format!("Back-off restarting failed container c in pod talk_default({uid})");
        world.until_event(&format!("talk BackOff {message}")).await;
    });
}

#[test]
fn what_is_missing_is_waited_for_and_shown() {
    run(async |world| {
        let env = json!({"command": ["sh", "-c", "echo $X; sleep 600"], "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]});
        world.create_pod("env", env).await;
        let waits = |reason: &'static str| {
            move |pod: &Value| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
            }
        };
        world.until("pods", "env", waits("CreateContainerConfigError")).await;
        world.until_event("env Failed Error: configmap \"late\" not found").await;
        let volumes = json!({"volumes": [{"name": "v", "configMap": {"name": "late"}}]});
        let mounted = json!({"command": ["sh", "-c", FOREVER],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        world.create_pod_with("vol", mounted, volumes).await;
        world
            .until_event("vol FailedMount MountVolume.SetUp failed for volume \"v\" : configmap \"late\" not found")
            .await;
        let never = json!({"image": "nowhere:1", "imagePullPolicy": "Never"});
        world.create_pod("never", never).await;
        world.until("pods", "never", waits("ErrImageNeverPull")).await;
        let bad = json!({"image": "Not/Valid:x:y"});
        world.create_pod("bad", bad).await;
        world.until("pods", "bad", waits("InvalidImageName")).await;
        world.create_pod("cmd", json!({"command": ["no-such-program"]})).await;
        world.until("pods", "cmd", waits("CrashLoopBackOff")).await;
        let last = &world.pod("cmd")["status"]["containerStatuses"][0]["lastState"]["terminated"];
        assert_eq!((&last["reason"], &last["exitCode"]), (&json!("StartError"), &json!(128)));

        let map = json!({"metadata": {"name": "late"}, "data": {"x": "there"}});
        world.create("configmaps", map).await;
        world.until_ready("env").await;
        world.until_ready("vol").await;
        assert_eq!(world.exec("vol", "cat /v/x").await, (0, "there".into()));
        assert_eq!(world.logs("env", LogOptions::default()).await.unwrap(), "there\n");
    });
}

#[test]
fn init_containers_volumes_and_the_end() {
    run(async |world| {
        let mount = json!([{"name": "v", "mountPath": "/v"}]);
        let spec = json!({
            "restartPolicy": "Never",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "i", "image": world::IMAGE, "volumeMounts": mount,
                "command": ["sh", "-c", "echo made > /v/file"]}],
        });
        let main = json!({"volumeMounts": mount,
            "command": ["sh", "-c", "cat /v/file > /dev/termination-log"]});
        world.create_pod_with("job", main, spec).await;
        let pod = world.until("pods", "job", |pod| pod["status"]["phase"] == "Succeeded").await;
        let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&end["reason"], &end["message"]), (&json!("Completed"), &json!("made\n")));
        assert_eq!(condition(&pod, "Ready"), "False");
        world.delete("pods", "job", json!({})).await.unwrap();
        world.until_gone("pods", "job").await;
    });
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    run(async |world| {
        let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 600}});
        let wake = json!({"configMap": {"name": "wake", "optional": true}});
        let volumes = json!({"volumes": [{"name": "v", "projected": {"sources": [token, wake]}}]});
        let main = json!({"command": ["sh", "-c", FOREVER],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        world.create_pod_with("holder", main, volumes).await;
        world.until_ready("holder").await;
        let token = || world.exec("holder", "cat /v/token");
        let first = token().await;
        // What the volume holds is looked at when something that it shows changes.
        let map = |name: &str, x| json!({"metadata": {"name": name}, "data": {"x": x}});
        world.put_forward(470);
        world.create("configmaps", map("wake", "early")).await;
        while world.exec("holder", "cat /v/x").await.1 != "early" {}
        assert_eq!(token().await, first, "four fifths of its life are not over");
        world.put_forward(20);
        world.delete("configmaps", "wake", json!({})).await.unwrap();
        world.create("configmaps", map("wake", "late")).await;
        while world.exec("holder", "cat /v/x").await.1 != "late" {}
        assert_ne!(token().await, first);
    });
}

#[test]
fn claims_keep_their_data_and_hold_their_size() {
    run(async |world| {
        let set = json!({
            "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db", "replicas": 2,
                "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                        "name": "c", "image": world::IMAGE, "command": ["sh", "-c", FOREVER],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "16Mi"}}}}],
            },
        });
        let service = json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None",
            "selector": {"app": "db"}, "ports": [{"port": 80}]}});
        world.create("services", service).await;
        world.create("statefulsets.apps", set).await;
        world.until_ready("db-1").await;
        assert_eq!(world.exec("db-0", "echo 74 > /data/visits").await.0, 0);
        let full = "dd if=/dev/zero of=/data/big bs=1M count=32";
        let (code, text) = world.exec("db-0", full).await;
        assert!(code != 0 && text.contains("No space left on device"), "{code} {text}");
        let before = world.pod("db-0")["metadata"]["uid"].clone();
        world.delete("pods", "db-0", json!({})).await.unwrap();
        world
            .until("pods", "db-0", |pod| {
                !pod.is_null()
                    && pod["metadata"]["uid"] != before
                    && condition(pod, "Ready") == "True"
            })
            .await;
        assert_eq!(world.exec("db-0", "cat /data/visits").await, (0, "74\n".into()));
        let lookup = "nslookup db-1.db.default.svc.cluster.local";
        let (code, text) = world.exec("db-0", lookup).await;
        let ip = world.pod("db-1")["status"]["podIP"].as_str().unwrap().to_owned();
        assert!(code == 0 && text.contains(&ip), "{code} {text}");

        let volume =
            world.get("persistentvolumeclaims", "data-db-1").unwrap()["spec"]["volumeName"]
                .as_str()
                .unwrap()
                .to_owned();
        assert!(world.path("volumes").join(&volume).exists());
        world.delete("statefulsets.apps", "db", json!({})).await.unwrap();
        world.until_gone("pods", "db-1").await;
        world.delete("persistentvolumeclaims", "data-db-1", json!({})).await.unwrap();
        world.until_gone("persistentvolumes", &volume).await;
        assert!(!world.path("volumes").join(&volume).exists());
    });
}

#[test]
fn pods_outlive_the_engine() {
    run(async |world| {
        let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
        let container = json!({"command": ["sh", "-c", FOREVER], "readinessProbe": probe});
        world.create_pod("stays", container.clone()).await;
        world.create_pod("leaves", container).await;
        let before = world.until_ready("stays").await;
        let leaves = world.until_ready("leaves").await;
        world.stop_node().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.delete("pods", "leaves", json!({"gracePeriodSeconds": 0})).await.unwrap();
        world.start_node().await;
        // What has no object any more is removed, and what has one goes on.
        let uid = leaves["metadata"]["uid"].as_str().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while world.path("pods").join(uid).exists() {
            assert!(std::time::Instant::now() < deadline, "the orphan is not removed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = world.pod("stays");
        assert_eq!(condition(&after, "Ready"), "True");
        for field in ["containerID", "restartCount"] {
            let of = |pod: &Value| pod["status"]["containerStatuses"][0][field].clone();
            assert_eq!(of(&after), of(&before), "{field}");
        }
        assert_eq!(world.exec("stays", "echo yes").await, (0, "yes\n".into()));

        // Stopped pods start again with the next engine.
        world.node().stop_pods(Ending::Gracefully).await.unwrap();
        world.stop_node().await;
        world.start_node().await;
        let again = world
            .until("pods", "stays", |pod| {
                pod["status"]["containerStatuses"][0]["restartCount"] == 1
                    && condition(pod, "Ready") == "True"
            })
            .await;
        assert_eq!(again["metadata"]["uid"], before["metadata"]["uid"]);
    });
}

#[test]
fn a_node_that_is_ready_shows_what_runs_now() {
    run(async |world| {
        let probe =
            json!({"exec": {"command": ["sh", "-c", "test -e /ready"]}, "periodSeconds": 1});
        world
            .create_pod("told", json!({"command": ["sh", "-c", FOREVER], "readinessProbe": probe}))
            .await;
        world.until("pods", "told", |pod| pod["status"]["phase"] == "Running").await;
        assert_eq!(world.exec("told", "touch /ready").await.0, 0);
        world.until_ready("told").await;
        world.node().stop_pods(Ending::Gracefully).await.unwrap();
        world.stop_node().await;
        world.start_node().await;
        assert_eq!(condition(&world.pod("told"), "Ready"), "False", "its file went with its root");
    });
}

#[test]
fn probes_restart_and_graces_end() {
    run(async |world| {
        let probe = json!({"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1,
            "failureThreshold": 1, "initialDelaySeconds": 1});
        let script = format!("touch /tmp/alive; {FOREVER}");
        let container = json!({"command": ["sh", "-c", script], "livenessProbe": probe});
        world.create_pod("live", container).await;
        world.until_ready("live").await;
        world.exec("live", "rm /tmp/alive").await;
        world
            .until("pods", "live", |pod| {
                let status = &pod["status"]["containerStatuses"][0];
                status["restartCount"] == 1 && status["ready"] == true
            })
            .await;
        world.until_event("live Unhealthy Liveness probe failed: cat: can't open '/tmp/alive': No such file or directory\n").await;
        world
            .until_event("live Killing Container c failed liveness probe, will be restarted")
            .await;

        world.create_pod("deaf", shell("trap '' TERM; while :; do sleep 0.1; done")).await;
        world.until_ready("deaf").await;
        world.delete("pods", "deaf", json!({"gracePeriodSeconds": 1})).await.unwrap();
        world.until_gone("pods", "deaf").await;
    });
}

#[test]
fn host_ports_are_reached_and_not_shared() {
    run(async |world| {
        let web = json!({
            "command": ["httpd", "-f", "-h", "/www"],
            "ports": [{"containerPort": 80, "hostPort": 21017}],
            "readinessProbe": {"tcpSocket": {"port": 80}},
        });
        world.create_pod("first", web.clone()).await;
        world.until_ready("first").await;
        world.create_pod_with("second", web.clone(), json!({"nodeName": "node-1"})).await;
        let pod = world.until("pods", "second", |pod| pod["status"]["phase"] == "Failed").await;
        assert_eq!(pod["status"]["reason"], "NodePorts");
        world.delete("pods", "second", json!({})).await.unwrap();
        world.until_gone("pods", "second").await;

        let node = world.get("nodes", "node-1").unwrap();
        let address = node["status"]["addresses"][0]["address"].as_str().unwrap();
        let answer = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 21017");
        world.create_pod("client", shell(FOREVER)).await;
        world.until_ready("client").await;
        let (_, text) = world.exec("client", &answer).await;
        assert!(text.ends_with("hello"), "{text}");
        world.delete("pods", "first", json!({"gracePeriodSeconds": 0})).await.unwrap();
        world.create_pod_with("second", web, json!({"nodeName": "node-1"})).await;
        world.until_ready("second").await;
    });
}

#[test]
fn containers_are_who_and_what_the_pod_says() {
    run(async |world| {
        let map = |value: &str| json!({"metadata": {"name": "m"}, "data": {"k": value}});
        world.create("configmaps", map("1")).await;
        let spec = json!({
            "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
            "hostname": "box", "subdomain": "boxes",
            "volumes": [
                {"name": "e", "emptyDir": {}},
                {"name": "m", "configMap": {"name": "m"}},
            ],
        });
        let container = json!({
            "command": ["sh", "-c", FOREVER],
            "securityContext": {"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
            "volumeMounts": [
                {"name": "e", "mountPath": "/e", "subPath": "part"},
                {"name": "m", "mountPath": "/m"},
            ],
        });
        world.create_pod_with("who", container, spec).await;
        let pod = world.until_ready("who").await;
        assert_eq!(pod["status"]["qosClass"], "Guaranteed");
        let text =
            world.exec("who", "id; hostname; touch /no; touch /e/yes && stat -c %g /e/yes").await.1;
        assert!(text.starts_with("uid=1000(app) gid=3000 groups=2000,3000\nbox\n"), "{text}");
        assert!(text.contains("/no: Read-only file system"), "{text}");
        let hosts = world.exec("who", "cat /etc/hosts").await.1;
        assert!(hosts.contains("\tbox.boxes.default.svc.cluster.local\tbox\n"), "{hosts}");
        assert_eq!(world.exec("who", "cat /m/k").await.1, "1");
        world.delete("configmaps", "m", json!({})).await.unwrap();
        world.create("configmaps", map("2")).await;
        for _ in 0..1000 {
            if world.exec("who", "cat /m/k").await.1 == "2" {
                return;
            }
        }
        panic!("the file does not change");
    });
}

#[test]
fn many_pods_start_together_and_all_goes_with_them() {
    run(async |world| {
        let names: Vec<_> = (0..20).map(|number| format!("p{number}")).collect();
        for name in &names {
            world.create_pod(name, shell(FOREVER)).await;
        }
        let mut addresses = std::collections::BTreeSet::new();
        for name in &names {
            let pod = world.until_ready(name).await;
            addresses.insert(pod["status"]["podIP"].as_str().unwrap().to_owned());
        }
        assert_eq!(addresses.len(), names.len());
        for name in &names {
            world.delete("pods", name, json!({})).await.unwrap();
        }
        for name in &names {
            world.until_gone("pods", name).await;
        }
        let left = |name: &str| std::fs::read_dir(world.path(name)).unwrap().count();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while left("pods") + left("logs") > 0 {
            assert!(std::time::Instant::now() < deadline, "directories are left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(world.mounts().iter().all(|mount| !mount.contains("/pods/")));
    });
}

#[test]
fn a_pod_in_the_nodes_network_has_the_nodes_address() {
    run(async |world| {
        let web = json!({
            "command": ["httpd", "-f", "-p", "8088", "-h", "/www"],
            "readinessProbe": {"httpGet": {"port": 8088}},
        });
        world.create_pod_with("node-web", web, json!({"hostNetwork": true})).await;
        let pod = world.until_ready("node-web").await;
        assert_eq!(pod["status"]["podIP"], pod["status"]["hostIP"]);
        world.create_pod("client", shell(FOREVER)).await;
        world.until_ready("client").await;
        let address = pod["status"]["hostIP"].as_str().unwrap();
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 8088");
        let (_, text) = world.exec("client", &ask).await;
        assert!(text.ends_with("hello"), "{text}");
        world.streams().reach("default", "node-web", 8088, false).await.unwrap();
        world.delete("pods", "node-web", json!({})).await.unwrap();
        world.until_gone("pods", "node-web").await;
    });
}
