//! Volumes with real mounts, below a directory of their own.

mod disks;
mod owners;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use coracle_api::Object;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;
use rustix::fs::statfs;
use rustix::mount::{UnmountFlags, unmount};
use serde_json::{Value, json};

use super::mounter::{MountedVolumes, Mounter, unmount_all};
use super::payload::File;
use super::{Places, atomic, image, mount_table, subpath};
use crate::pods::fields;

/// A data directory that leaves no mounts behind, even when a test fails.
struct Bench {
    directory: tempfile::TempDir,
    objects: Vec<(&'static str, Value)>,
    tokens: BTreeMap<(String, String), String>,
    is_running: bool,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for mount in mount_table::all().unwrap().iter().rev() {
            if mount.target.starts_with(self.directory.path()) {
                unmount(&mount.target, UnmountFlags::DETACH).unwrap_or_default();
            }
        }
    }
}

impl Bench {
    fn new(objects: &[(&'static str, Value)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, objects: objects.to_vec(), tokens: BTreeMap::new(), is_running: false }
    }

    fn places(&self) -> Places {
        Places { data: self.directory.path().to_owned() }
    }

    fn mount(&self, pod: &Pod) -> Result<MountedVolumes, String> {
        self.with(|mounter| {
            let mut mounted = MountedVolumes::new();
            mounter.mount(pod, &mut mounted).map_err(|error| error.to_string())?;
            Ok(mounted)
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(Mounter<'_>) -> T) -> T {
        let objects = self
            .objects
            .iter()
            .map(|(resource, value)| Object::with_resource(*resource, value.clone()).unwrap());
        let snapshot = Snapshot::of(objects).unwrap();
        use_it(Mounter {
            places: &self.places(),
            snapshot: &snapshot,
            allocatable: &fields::Allocatable::default(),
            tokens: &self.tokens,
            is_running: self.is_running,
        })
    }
}

/// A pod that uses the claim `c`.
fn claimant(uid: &str) -> Pod {
    let mut pod = pod(json!({"persistentVolumeClaim": {"claimName": "c"}}));
    pod.metadata.uid = Some(uid.to_owned());
    pod
}

fn with_group(mut pod: Pod, security: Value) -> Pod {
    pod.spec.as_mut().unwrap().security_context = serde_json::from_value(security).unwrap();
    pod
}

fn pod(volume: Value) -> Pod {
    let mut full = json!({"name": "v"});
    full.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "labels": {"app": "web"}},
        "spec": {"containers": [], "volumes": [full]},
    }))
    .unwrap()
}

fn fill(directory: &Path, megabytes: usize) -> std::io::Result<()> {
    let mut file = fs::File::create(directory.join("big"))?;
    let chunk = vec![1; 1 << 20];
    (0..megabytes).try_for_each(|_| file.write_all(&chunk))?;
    file.sync_all()
}

/// The claim `c`, which is bound to a volume of ours.
fn claim(size: &str) -> Vec<(&'static str, Value)> {
    vec![
        (
            "persistentvolumeclaims",
            json!({"metadata": {"name": "c", "namespace": "ns"},
            "spec": {"volumeName": "pv1"}, "status": {"phase": "Bound"}}),
        ),
        (
            "persistentvolumes",
            json!({"metadata": {"name": "pv1"}, "spec": {
            "capacity": {"storage": size},
            "csi": {"driver": "coracle.dev/local", "volumeHandle": "pv1"}}}),
        ),
    ]
}

#[test]
fn a_claim_that_is_not_bound_is_waited_for() {
    let bench = Bench::new(&[]);
    let pod = pod(json!({"persistentVolumeClaim": {"claimName": "c"}}));
    assert_eq!(
        bench.mount(&pod).unwrap_err(),
        "MountVolume.SetUp failed for volume \"v\" : persistentvolumeclaim \"c\" not found"
    );
}

#[test]
fn empty_directories_of_all_sorts() {
    let bench = Bench::new(&[]);
    for (source, enough, too_much) in [
        (json!({}), 8, None),
        (json!({"medium": "Memory", "sizeLimit": "4Mi"}), 3, Some(8)),
        (json!({"sizeLimit": "8Mi"}), 3, Some(16)),
    ] {
        let pod = pod(json!({"emptyDir": source}));
        let volumes = bench.mount(&pod).unwrap();
        let path = &volumes["v"].path;
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o777);
        fill(path, enough).unwrap();
        if let Some(too_much) = too_much {
            assert!(fill(path, too_much).is_err());
        }
        unmount_all(&bench.places(), "u1").unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn files_come_from_objects_and_change_with_them() {
    let map = |value: &str| {
        (
            "configmaps",
            json!({"metadata": {"name": "c", "namespace": "ns"},
            "data": {"a": value, "b": "x"}}),
        )
    };
    let secret = (
        "secrets",
        json!({"metadata": {"name": "s", "namespace": "ns"},
        "data": {"p": "cHc="}}),
    );
    let mut bench = Bench::new(&[map("1"), secret]);
    let pod = pod(json!({"projected": {"defaultMode": 0o600, "sources": [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "dir/a", "mode": 0o444}]}},
        {"secret": {"name": "s"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    ]}}));
    assert!(bench.mount(&pod).unwrap_err().contains("the token is not there yet"));
    bench.tokens.insert(("v".into(), "token".into()), "ey".into());
    let path = bench.mount(&pod).unwrap()["v"].path.clone();
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!((read("dir/a"), read("p"), read("token")), ("1".into(), "pw".into(), "ey".into()));
    assert_eq!(read("labels"), "app=\"web\"");
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("dir/a"), mode("p")), (0o444, 0o600));
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    assert_eq!(statfs(&path).unwrap().f_type, TMPFS_MAGIC, "secrets must not reach the disk");

    let before = fs::read_link(path.join("..data")).unwrap();
    bench.mount(&pod).unwrap();
    assert_eq!(fs::read_link(path.join("..data")).unwrap(), before);
    bench.objects[0] = map("2");
    bench.mount(&pod).unwrap();
    assert_eq!(read("dir/a"), "2");
    assert!(!path.join(before).exists());
}

#[test]
fn missing_objects_are_named_unless_they_are_optional() {
    let bench =
        Bench::new(&[("configmaps", json!({"metadata": {"name": "c", "namespace": "ns"}}))]);
    for (volume, message) in [
        (json!({"configMap": {"name": "x"}}), "configmap \"x\" not found"),
        (json!({"secret": {"secretName": "x"}}), "secret \"x\" not found"),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "k"}]}}),
            "configmap references non-existent configmap key: k (in ns/c)",
        ),
    ] {
        let error = bench.mount(&pod(volume)).unwrap_err();
        assert_eq!(error, format!("MountVolume.SetUp failed for volume \"v\" : {message}"));
    }
    assert!(bench.mount(&pod(json!({"configMap": {"name": "x", "optional": true}}))).is_ok());
}

#[test]
fn a_token_is_for_the_pods_user_and_group_alone() {
    let token = json!({"projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    ]}});
    let container = |user: Value| json!({"name": "c", "securityContext": {"runAsUser": user}});
    let mut bench = Bench::new(&[]);
    bench.tokens.insert(("v".into(), "token".into()), "ey".into());
    for (uid, security, containers, expected) in [
        ("a", json!({}), json!([{"name": "c"}]), (0o644, 0, 0)),
        ("b", json!({"runAsUser": 7}), json!([{"name": "c"}]), (0o600, 7, 0)),
        ("c", json!({"runAsUser": 7}), json!([{"name": "c"}, container(json!(8))]), (0o644, 0, 0)),
        ("d", json!({}), json!([container(json!(8)), {"name": "d"}]), (0o644, 0, 0)),
        ("e", json!({"fsGroup": 9}), json!([{"name": "c"}]), (0o640, 0, 9)),
        ("f", json!({"fsGroup": 9}), json!([container(json!(8))]), (0o640, 8, 9)),
    ] {
        let mut pod = pod(token.clone());
        pod.metadata.uid = Some(uid.into());
        let spec = pod.spec.as_mut().unwrap();
        spec.security_context = serde_json::from_value(security).unwrap();
        spec.containers = serde_json::from_value(containers).unwrap();
        let path = bench.mount(&pod).unwrap()["v"].path.join("token");
        let metadata = fs::metadata(path).unwrap();
        let found = (metadata.mode() & 0o777, metadata.uid(), metadata.gid());
        assert_eq!(found, expected, "{uid}");
    }
}

#[test]
fn files_do_not_leave_their_volume() {
    let directory = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a/../../x", "..data"] {
        let payload = BTreeMap::from([(
            path.to_owned(),
            File { content: Vec::new(), mode: 0o644, owner: None },
        )]);
        assert!(atomic::write(directory.path(), &payload, None).is_err(), "{path}");
    }
}

#[test]
fn host_paths_are_checked() {
    let bench = Bench::new(&[]);
    let base = bench.directory.path().join("host");
    let at =
        |kind: &str, name: &str| pod(json!({"hostPath": {"path": base.join(name), "type": kind}}));
    assert!(bench.mount(&at("Directory", "d")).unwrap_err().contains("is not a directory"));
    bench.mount(&at("DirectoryOrCreate", "d")).unwrap();
    bench.mount(&at("Directory", "d")).unwrap();
    bench.mount(&at("FileOrCreate", "f")).unwrap();
    assert!(bench.mount(&at("Directory", "f")).unwrap_err().contains("is not a directory"));
    assert!(bench.mount(&at("Socket", "f")).unwrap_err().contains("is not a socket file"));
}

#[test]
fn a_part_of_a_volume_stays_inside_of_it() {
    let bench = Bench::new(&[]);
    let (root, place) = (bench.directory.path().join("v"), bench.directory.path().join("p"));
    let outside = bench.directory.path().join("outside");
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let bound = |sub: &str, name: &str| -> Result<PathBuf, super::VolumeError> {
        subpath::bind(&root, sub, &place.join(name)).map(|()| place.join(name))
    };
    let path = bound("a/b", "1").unwrap();
    fs::write(path.join("x"), "1").unwrap();
    assert_eq!(fs::read_to_string(root.join("a/b/x")).unwrap(), "1");
    let file = bound("a/b/x", "2").unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "1");
    symlink(&outside, root.join("evil")).unwrap();
    symlink("../outside", root.join("up")).unwrap();
    for sub in ["evil", "evil/x", "up", "../outside", "/etc"] {
        assert!(bound(sub, "3").is_err(), "{sub}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // Where the volume itself is, is for the machine's owner to say.
    symlink(&root, bench.directory.path().join("alias")).unwrap();
    subpath::bind(&bench.directory.path().join("alias"), "a/c", &place.join("4")).unwrap();
    assert!(root.join("a/c").is_dir());
}

#[test]
fn a_part_that_is_made_is_as_open_as_its_volume() {
    let bench = Bench::new(&[]);
    let (root, place) = (bench.directory.path().join("v"), bench.directory.path().join("p"));
    fs::create_dir(&root).unwrap();
    for (number, mode, group) in [(1, 0o777, 0), (2, 0o2770, 4242), (3, 0o755, 0)] {
        std::os::unix::fs::chown(&root, None, Some(group)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        subpath::bind(&root, &format!("a{number}/b"), &place).unwrap();
        for path in [root.join(format!("a{number}")), place.clone()] {
            let found = fs::metadata(path).unwrap();
            assert_eq!((found.mode() & 0o7777, found.gid()), (mode, group));
        }
    }
}

#[test]
fn a_part_of_changed_files_is_the_new_one() {
    let map = |value: &str| {
        ("configmaps", json!({"metadata": {"name": "c", "namespace": "ns"}, "data": {"a": value}}))
    };
    let mut bench = Bench::new(&[map("1")]);
    let pod = pod(json!({"configMap": {"name": "c"}}));
    let root = bench.mount(&pod).unwrap()["v"].path.clone();
    let place = bench.places().sub_path("u1", "main", 0);
    subpath::bind(&root, "a", &place).unwrap();
    let before = fs::File::open(&place).unwrap();
    bench.objects = vec![map("2")];
    bench.with(|mounter| mounter.refresh(&pod, &mut MountedVolumes::new())).unwrap();
    subpath::bind(&root, "a", &place).unwrap();
    assert_eq!(fs::read_to_string(&place).unwrap(), "2");
    drop(before);
    unmount_all(&bench.places(), "u1").unwrap();
}
