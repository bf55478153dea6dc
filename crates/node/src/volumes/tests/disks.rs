//! Volumes of a size that holds: one filesystem each, which keeps what was synced.

use std::process::{Command, Stdio};

use super::*;
use crate::volumes::image::Image;
use crate::volumes::sized::{Grown, Sized, any_is_unwell};

/// What a volume can hold, in bytes.
fn room(data: &Path) -> u64 {
    let found = rustix::fs::statvfs(data).unwrap();
    found.f_bavail * found.f_frsize
}

/// A process in a mount namespace of its own, which keeps the mounts that are there now.
struct Foreigner(std::process::Child);

impl Foreigner {
    fn new() -> Self {
        let script = "echo ready; exec cat";
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_persistent_volume_holds_its_size_and_keeps_its_content() {
    let mut bench = Bench::new(&claim("32Mi"));
    let (first, second) = (claimant("u1"), claimant("u2"));
    let data = bench.mount(&first).unwrap()["v"].path.clone();
    fs::write(data.join("visits.txt"), "74").unwrap();
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    fill(&data, 31).unwrap();
    let error = fill(&data, 40).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(data.join("big")).unwrap();

    bench.mount(&second).unwrap();
    unmount_all(&bench.places(), "u1").unwrap();
    assert!(data.exists(), "another pod still uses it");
    unmount_all(&bench.places(), "u2").unwrap();
    assert!(!data.exists());

    bench.objects = claim("64Mi");
    let data = bench.mount(&first).unwrap()["v"].path.clone();
    assert_eq!(fs::read_to_string(data.join("visits.txt")).unwrap(), "74");
    fill(&data, 63).unwrap();
}

#[test]
fn a_volume_holds_what_was_asked_for_and_little_more() {
    let bench = Bench::new(&[]);
    for bytes in
        [1 << 20, 5 << 20, 32 << 20, 100 << 20, 130 << 20, 1 << 30, 10 << 30, 200 << 30_u64]
    {
        let sized = Sized::of(&bench.directory.path().join(format!("{bytes}")));
        let data = sized.mount(bytes).unwrap();
        let room = room(&data);
        let most = bytes + bytes / 20 + (17 << 20);
        assert!((bytes..most).contains(&room), "asked for {bytes}, there are {room}");
        sized.release().unwrap();
        let image = Image { path: bench.directory.path().join(format!("{bytes}/volume.img")) };
        assert!(!image.is_short(bytes).unwrap() && !image.has_room().unwrap(), "{bytes}");
    }
    assert!(image::largest(bench.directory.path()) > 1 << 40);
}

#[test]
fn what_another_mount_namespace_holds_is_the_same_file_system() {
    let bench = Bench::new(&claim("16Mi"));
    let data = bench.mount(&claimant("u1")).unwrap()["v"].path.clone();
    fs::write(data.join("a"), "1").unwrap();
    let foreigner = Foreigner::new();
    unmount_all(&bench.places(), "u1").unwrap();
    assert!(!data.exists());
    let data = bench.mount(&claimant("u2")).unwrap()["v"].path.clone();
    fs::write(data.join("b"), "2").unwrap();
    let theirs = PathBuf::from(format!("/proc/{}/root", foreigner.0.id()));
    let theirs = theirs.join(data.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(theirs.join("b")).unwrap(), "2", "one file system");
    fs::write(theirs.join("c"), "3").unwrap();
    assert_eq!(fs::read_to_string(data.join("c")).unwrap(), "3");
    drop(theirs);
    foreigner.end();
    unmount_all(&bench.places(), "u2").unwrap();
    let data = bench.mount(&claimant("u3")).unwrap()["v"].path.clone();
    assert_eq!(fs::read_dir(&data).unwrap().count(), 3);
}

/// What ext4 does when it cannot write its own blocks.
fn break_disk(data: &Path) {
    let target = data.parent().unwrap();
    let device = mount_table::at(target).unwrap().unwrap().device;
    let name = fs::read_link(format!("/sys/dev/block/{device}")).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap();
    fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "a test").unwrap();
}

#[test]
fn what_refuses_writes_is_repaired_when_nobody_has_it() {
    let mut bench = Bench::new(&claim("16Mi"));
    let pod = claimant("u1");
    let data = bench.mount(&pod).unwrap()["v"].path.clone();
    fs::write(data.join("kept"), "1").unwrap();
    fs::File::open(data.join("kept")).unwrap().sync_all().unwrap();
    assert!(!any_is_unwell(std::slice::from_ref(&data)).unwrap());
    break_disk(&data);
    assert!(any_is_unwell(std::slice::from_ref(&data)).unwrap());
    assert!(fs::write(data.join("more"), "1").is_err(), "it fails at once");

    // The next engine finds containers that run on it, and leaves it to them.
    bench.is_running = true;
    bench.mount(&pod).unwrap();
    bench.is_running = false;
    let foreigner = Foreigner::new();
    let error = bench.mount(&pod).unwrap_err();
    assert!(any_is_unwell(std::slice::from_ref(&data)).unwrap(), "it shows");
    let holder = format!("process {} (", foreigner.0.id());
    assert!(
        error.contains("cannot be repaired while it is used") && error.contains(&holder),
        "{error}"
    );
    foreigner.end();
    let data = bench.mount(&pod).unwrap()["v"].path.clone();
    assert_eq!(fs::read_to_string(data.join("kept")).unwrap(), "1");
    fs::write(data.join("more"), "1").unwrap();

    // As after a repair that the disk had no room for.
    assert!(!any_is_unwell(std::slice::from_ref(&data)).unwrap());
    rustix::mount::unmount(data.parent().unwrap(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(any_is_unwell(std::slice::from_ref(&data)).unwrap());
}

#[test]
fn a_volume_grows_while_it_is_used_where_the_machine_lets_it() {
    let bench = Bench::new(&[]);
    let sized = Sized::of(&bench.directory.path().join("v"));
    let (small, large) = (16 << 20, 64 << 20);
    assert_eq!(sized.grow(small).unwrap(), Grown::Done, "it is made as large as it must be");
    let data = sized.mount(small).unwrap();
    let mut open = fs::File::create(data.join("open")).unwrap();
    match sized.grow(large).unwrap() {
        Grown::Done => assert!(room(&data) > large - (1 << 20)),
        Grown::AtNextMount => assert!(room(&data) < large / 2),
    }
    open.write_all(b"still mine").unwrap();
    open.sync_all().unwrap();
    drop(open);
    sized.release().unwrap();
    let data = sized.mount(large).unwrap();
    assert!(room(&data) > large - (1 << 20));
    assert_eq!(sized.grow(large).unwrap(), Grown::Done, "it is as large by now");
    assert_eq!(fs::read_to_string(data.join("open")).unwrap(), "still mine");
    sized.release().unwrap();
    assert_eq!(sized.grow(2 * large).unwrap(), Grown::Done);
    assert!(room(&sized.mount(2 * large).unwrap()) > 2 * large - (1 << 20));
}

/// The state of a directory that an engine left which was killed.
#[test]
fn what_was_begun_can_be_finished_from_anywhere() {
    let bench = Bench::new(&claim("16Mi"));
    let data = bench.mount(&claimant("u1")).unwrap()["v"].path.clone();
    let image = data.ancestors().nth(2).unwrap().join("volume.img");
    // Before the image was complete.
    unmount_all(&bench.places(), "u1").unwrap();
    fs::rename(&image, image.with_extension("new")).unwrap();
    bench.mount(&claimant("u1")).unwrap();
    // Between the file and the file system on it.
    unmount_all(&bench.places(), "u1").unwrap();
    fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(image::file_size(64 << 20))
        .unwrap();
    let data = bench.mount(&claimant("u1")).unwrap()["v"].path.clone();
    assert!(room(&data) > 60 << 20);
    // Between the mounts and the directories of a pod's end.
    mount_table::unmount_below(&bench.places().pod("u1")).unwrap();
    unmount_all(&bench.places(), "u1").unwrap();
    assert!(!data.exists() && !bench.places().pod("u1").exists());
    unmount_all(&bench.places(), "u1").unwrap();
}

#[test]
fn a_data_directory_that_was_copied_has_volumes_of_its_own() {
    let original = Bench::new(&claim("16Mi"));
    let data = original.mount(&claimant("u1")).unwrap()["v"].path.clone();
    fs::write(data.join("of"), "the original").unwrap();
    // As version 0.1 wrote it: with the directory in it.
    let mut old = claim("16Mi");
    let path = original.directory.path().join("volumes/pv1");
    old[1].1["metadata"]["annotations"] =
        json!({"pv.kubernetes.io/provisioned-by": "coracle.dev/local"});
    old[1].1["spec"] = json!({"capacity": {"storage": "16Mi"}, "hostPath": {"path": path}});
    let copy = Bench::new(&old);
    let data = copy.mount(&claimant("u1")).unwrap()["v"].path.clone();
    assert!(data.starts_with(copy.directory.path()), "{data:?}");
    assert_eq!(fs::read_dir(data).unwrap().count(), 0);
    let moved = Bench::new(&old);
    unmount_all(&original.places(), "u1").unwrap();
    fs::rename(original.directory.path().join("volumes"), moved.directory.path().join("volumes"))
        .unwrap();
    let data = moved.mount(&claimant("u1")).unwrap()["v"].path.clone();
    assert_eq!(fs::read_to_string(data.join("of")).unwrap(), "the original");
}

/// The first half of a write lies where there is room, the second does not.
#[test]
fn a_write_that_finds_room_for_its_half_fails() {
    let bench = Bench::new(&[]);
    let disk = bench.directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    rustix::mount::mount("tmpfs", &disk, "tmpfs", rustix::mount::MountFlags::empty(), c"size=64m")
        .unwrap();
    // A disk of its own in memory, so that the machine's is never full.
    let host = Image { path: disk.join("host.img") };
    fs::File::create(&host.path).unwrap().set_len(48 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&host.path).status();
    assert!(made.unwrap().success());
    let below = disk.join("below");
    fs::create_dir(&below).unwrap();
    let device = coracle_runtime::LoopDevice::of(&host.open().unwrap(), 512).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(&device.path, &below, "ext4", flags, c"").unwrap();
    drop(device);

    let sized = Sized::of(&below.join("v"));
    let data = sized.mount(16 << 20).unwrap();
    let mut file = fs::File::create(data.join("log")).unwrap();
    file.write_all(&[1; 4096]).unwrap();
    file.sync_all().unwrap();
    fill(&below, 64).unwrap_err();
    let mut lines = 0;
    loop {
        let written = file.write_all(&[2; 6000]).and_then(|()| file.sync_all());
        if written.is_err() {
            break;
        }
        lines += 1;
        assert!(lines < 4000, "the disk is full");
    }
    drop(file);
    fs::remove_file(below.join("big")).unwrap();
    let data = sized.mount(16 << 20).unwrap();
    sized.release().unwrap();
    sized.mount(16 << 20).unwrap();
    let found = fs::read(data.join("log")).unwrap();
    let synced = found.get(4096..4096 + lines * 6000).unwrap();
    assert!(synced.iter().all(|byte| *byte == 2), "{lines} lines were synced");
    sized.release().unwrap();
}
