//! Whose a volume is, and what is never touched.

use std::os::unix::fs::chown;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::volumes::own;

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.gid(), found.mode() & 0o7777)
}

fn private(path: &Path) {
    fs::write(path, "secret").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_group_owns_the_volume_from_its_mount_on_and_what_it_makes_of_it_stays() {
    let bench = Bench::new(&claim("16Mi"));
    let empty = pod(json!({"emptyDir": {}}));
    for pod in [empty, claimant("u1")] {
        let pod = with_group(pod, json!({"fsGroup": 4242}));
        let path = bench.mount(&pod).unwrap()["v"].path.clone();
        assert_eq!(owner(&path), (4242, 0o2777));
        // The application makes a file its own; nothing may open it again: a changed label, the
        // next engine, a second look.
        let secret = path.join("cookie");
        private(&secret);
        chown(&secret, Some(4242), Some(7)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        bench.with(|mounter| mounter.refresh(&pod, &mut MountedVolumes::new())).unwrap();
        bench.mount(&pod).unwrap();
        assert_eq!((owner(&secret), owner(&path).1), ((7, 0o600), 0o700));
        unmount_all(&bench.places(), "u1").unwrap();
    }
}

#[test]
fn a_volume_in_use_by_another_pod_is_left_as_it_is() {
    let bench = Bench::new(&claim("16Mi"));
    let path = bench.mount(&claimant("u1")).unwrap()["v"].path.clone();
    let secret = path.join("cookie");
    private(&secret);
    let group = json!({"fsGroup": 4242});
    bench.mount(&with_group(claimant("u2"), group.clone())).unwrap();
    assert_eq!(owner(&secret), (0, 0o600));
    for uid in ["u1", "u2"] {
        unmount_all(&bench.places(), uid).unwrap();
    }
    bench.mount(&with_group(claimant("u3"), group)).unwrap();
    assert_eq!(owner(&secret), (4242, 0o660));
}

#[test]
fn on_root_mismatch_looks_at_the_root_alone() {
    let bench = Bench::new(&claim("16Mi"));
    let security = json!({"fsGroup": 4242, "fsGroupChangePolicy": "OnRootMismatch"});
    let mut path = PathBuf::new();
    for (uid, root_group, expected) in [("a", None, 4242), ("b", None, 0), ("c", Some(9), 4242)] {
        if let Some(group) = root_group {
            let path = bench.mount(&claimant("other")).unwrap()["v"].path.clone();
            chown(path, None, Some(group)).unwrap();
            unmount_all(&bench.places(), "other").unwrap();
        }
        if !path.as_os_str().is_empty() {
            bench.mount(&claimant("other")).unwrap();
            chown(path.join("cookie"), None, Some(0)).unwrap();
            unmount_all(&bench.places(), "other").unwrap();
        } else {
            path = bench.mount(&claimant("other")).unwrap()["v"].path.clone();
            private(&path.join("cookie"));
            unmount_all(&bench.places(), "other").unwrap();
        }
        bench.mount(&with_group(claimant(uid), security.clone())).unwrap();
        assert_eq!(owner(&path.join("cookie")).0, expected, "{uid}");
        unmount_all(&bench.places(), uid).unwrap();
    }
}

/// A pod exchanges a directory of its volume for a link to one of the host, again and again, while
/// others start.
#[test]
fn a_group_never_gets_what_a_link_leads_to() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, outside) = (directory.path().join("volume"), directory.path().join("outside"));
    fs::create_dir_all(volume.join("deep/er")).unwrap();
    fs::create_dir_all(outside.join("er")).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
    for file in [volume.join("deep/er/file"), outside.join("file"), outside.join("er/file")] {
        private(&file);
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        volume.join("deep/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                fs::rename(volume.join("deep"), volume.join("aside")).unwrap();
                symlink(&outside, volume.join("deep")).unwrap();
                fs::remove_file(volume.join("deep")).unwrap();
                fs::rename(volume.join("aside"), volume.join("deep")).unwrap();
            }
        });
        for round in 0..3000 {
            own::give(&volume, 5000 + round).unwrap();
        }
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(owner(&outside), (0, 0o700));
    assert_eq!(owner(&outside.join("er")).0, 0);
    for file in ["file", "er/file"] {
        assert_eq!(owner(&outside.join(file)), (0, 0o600));
    }
    own::give(&volume, 4242).unwrap();
    assert_eq!(owner(&volume.join("deep/er/file")), (4242, 0o660));
    assert_eq!(owner(&volume.join("deep/fifo")), (4242, 0o660));
    assert_eq!(owner(&volume.join("link")).0, 4242, "the link itself is the volume's");
}

#[test]
fn parts_of_a_volume_are_never_made_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(&[]);
    let (volume, outside) = (bench.directory.path().join("volume"), directory.path().join("out"));
    fs::create_dir_all(volume.join("deep")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                // A part may have been made anywhere in between, and be in the way.
                fs::remove_dir_all(volume.join("aside")).unwrap_or_default();
                fs::rename(volume.join("deep"), volume.join("aside")).unwrap_or_default();
                symlink(&outside, volume.join("deep")).unwrap_or_default();
                fs::remove_file(volume.join("deep")).unwrap_or_default();
                fs::rename(volume.join("aside"), volume.join("deep")).unwrap_or_default();
            }
        });
        let place = bench.directory.path().join("place");
        for round in 0..300 {
            // It may be refused; it may not lead outside.
            drop(subpath::bind(&volume, &format!("deep/{round}/x"), &place));
        }
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
