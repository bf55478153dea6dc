//! Disks that are full or read-only, and an image that holds nothing but the program: each in a
//! mount namespace of its own, so nothing is left behind. These need root, as containers do.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::replica::{Answer, Replica};

/// A replica on a tmpfs of its own, after the shell commands `prepare` ran there.
fn on_disk(options: &str, prepare: &str) -> Replica {
    let script = format!(
        "mkdir disk && mount -t tmpfs -o {options} disk disk && cd disk && {prepare}; exec {}",
        env!("CARGO_BIN_EXE_app_rust")
    );
    let command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script];
    let mut replica = Replica::spawn_by(&[], &command);
    replica.wait_until_it_listens();
    replica
}

/// A path on the disk of `replica`, seen from here.
fn seen(replica: &Replica, name: &str) -> PathBuf {
    let pid = replica.pid();
    PathBuf::from(format!("/proc/{pid}/cwd/{name}"))
}

fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("visits.txt") && answer.body.contains(why), "{answer:?}");
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    let mut replica = on_disk("size=4k", "head -c 4096 /dev/zero > other");
    refused(&replica.get("/readyz"), "No space left");
    refused(&replica.get("/"), "No space left");
    assert_eq!(replica.get("/healthz").status, 200, "a restart would not help");
    std::fs::remove_file(seen(&replica, "other")).unwrap();
    assert_eq!(replica.get("/readyz").status, 200);
    assert!(replica.get("/").body.contains("id=\"visits\">1</p>"));
    replica.signal(Signal::SIGTERM);
    assert!(replica.wait().1.contains("No space left"), "the log says why");
}

#[test]
fn a_read_only_disk_is_an_error_and_the_count_stays() {
    let replica = on_disk("size=64k", "echo 41 > visits.txt && mount -o remount,ro .");
    refused(&replica.get("/readyz"), "Read-only");
    refused(&replica.get("/"), "Read-only");
    assert_eq!(std::fs::read_to_string(seen(&replica, "visits.txt")).unwrap(), "41\n");
}

#[test]
fn a_file_that_goes_away_comes_back_with_its_count() {
    let replica = on_disk("size=64k", "true");
    assert_eq!(replica.get("/").status, 200);
    let file = seen(&replica, "visits.txt");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    refused(&replica.get("/"), "directory");
    refused(&replica.get("/readyz"), "directory");
    std::fs::remove_dir(&file).unwrap();
    assert!(replica.get("/").body.contains("id=\"visits\">2</p>"), "never back to zero");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "2\n");
}
