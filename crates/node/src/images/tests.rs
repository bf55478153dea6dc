//! Archives of all sorts, the hostile ones too.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::digest::digest_of;
use super::unpack::{Limits, unpack};
use super::{Credentials, ImageError, ImageStore, Pulling};

/// An entry: path, kind, link or content, mode.
struct Item(&'static str, EntryType, &'static [u8], u32);

fn file(path: &'static str, content: &'static str) -> Item {
    Item(path, EntryType::Regular, content.as_bytes(), 0o644)
}

fn layer(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for Item(path, kind, content, mode) in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        // Written by hand: the builder itself refuses hostile paths.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content);
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        } else {
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn unpacked(items: &[Item]) -> Result<tempfile::TempDir, ImageError> {
    let root = tempfile::tempdir().unwrap();
    unpack(layer(items).as_slice(), root.path(), Limits::default())?;
    Ok(root)
}

#[test]
fn a_layer_is_unpacked_as_it_was_packed() {
    let root = unpacked(&[
        Item("bin/", EntryType::Directory, b"", 0o755),
        Item("bin/su", EntryType::Regular, b"x", 0o4755),
        Item("bin/sh", EntryType::Symlink, b"/bin/busybox", 0o777),
        Item("bin/su2", EntryType::Link, b"bin/su", 0o755),
        file("./etc/passwd", "root:x:0:0"),
        file("/abs", "a"),
        Item("run/pipe", EntryType::Fifo, b"", 0o600),
    ])
    .unwrap();
    let su = fs::metadata(root.path().join("bin/su")).unwrap();
    assert_eq!((su.permissions().mode() & 0o7777, su.mtime()), (0o4755, 1_700_000_000));
    assert_eq!(su.ino(), fs::metadata(root.path().join("bin/su2")).unwrap().ino());
    assert_eq!(fs::read_link(root.path().join("bin/sh")).unwrap(), Path::new("/bin/busybox"));
    assert_eq!(fs::read_to_string(root.path().join("etc/passwd")).unwrap(), "root:x:0:0");
    assert_eq!(fs::read_to_string(root.path().join("abs")).unwrap(), "a");
    assert!(fs::metadata(root.path().join("run/pipe")).unwrap().file_type().is_fifo());
    let bin = fs::metadata(root.path().join("bin")).unwrap();
    assert_eq!(bin.mtime(), 1_700_000_000);
}

#[test]
fn removals_take_overlayfs_form() {
    let root = unpacked(&[
        file("etc/.wh.gone", ""),
        file("opt/.wh..wh..opq", ""),
        file("opt/new", "n"),
        file(".wh..wh.plnk/x", ""),
    ])
    .unwrap();
    let gone = fs::symlink_metadata(root.path().join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    let mut value = [0; 8];
    let size =
        rustix::fs::lgetxattr(root.path().join("opt"), "trusted.overlay.opaque", &mut value[..]);
    assert_eq!(&value[..size.unwrap()], b"y");
    assert!(!root.path().join("opt/.wh..wh..opq").exists());
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let root = unpacked(&[
        file("a", "first"),
        Item("a", EntryType::Symlink, b"/etc/passwd", 0o777),
        file("a", "second"),
        Item("d/", EntryType::Directory, b"", 0o755),
        file("d/x", "kept"),
        Item("d/", EntryType::Directory, b"", 0o700),
    ])
    .unwrap();
    assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "second");
    assert_eq!(fs::read_to_string(root.path().join("d/x")).unwrap(), "kept");
}

#[test]
fn hostile_layers_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let target: &'static str = Box::leak(outside.path().display().to_string().into_boxed_str());
    let cases: Vec<(&str, Vec<Item>)> = vec![
        ("leads outside of the image", vec![file("../evil", "x")]),
        ("leads outside of the image", vec![file("a/../../evil", "x")]),
        (
            "leads through a symbolic link",
            vec![Item("l", EntryType::Symlink, target.as_bytes(), 0o777), file("l/evil", "x")],
        ),
        (
            "leads through a symbolic link",
            vec![Item("l", EntryType::Symlink, target.as_bytes(), 0o777), file("l/.wh.evil", "")],
        ),
        (
            "leads through a symbolic link",
            vec![
                Item("l", EntryType::Symlink, b"/etc", 0o777),
                Item("p", EntryType::Link, b"l/passwd", 0o644),
            ],
        ),
        (
            "is a link that leads outside of the image",
            vec![Item("p", EntryType::Link, b"../../etc/passwd", 0o644)],
        ),
        ("leads through a file", vec![file("a", "x"), file("a/b", "x")]),
    ];
    for (why, items) in cases {
        let error = unpacked(&items).unwrap_err();
        assert!(
            matches!(&error, ImageError::Hostile { why: found, .. } if *found == why),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_hard_link_to_a_link_stays_inside() {
    let root = unpacked(&[
        Item("l", EntryType::Symlink, b"/etc/passwd", 0o777),
        Item("p", EntryType::Link, b"l", 0o644),
    ])
    .unwrap();
    assert!(fs::symlink_metadata(root.path().join("p")).unwrap().is_symlink());
}

#[test]
fn devices_are_left_out_with_a_line() {
    let root = tempfile::tempdir().unwrap();
    let items = [
        Item("dev/", EntryType::Directory, b"", 0o755),
        Item("dev/sda", EntryType::Block, b"", 0o600),
        Item("dev/mem", EntryType::Char, b"", 0o600),
        Item("dev/core", EntryType::Link, b"dev/mem", 0o600),
        file("etc/hostname", "box"),
    ];
    let done = unpack(layer(&items).as_slice(), root.path(), Limits::default()).unwrap();
    let remark = done.remark().unwrap();
    assert_eq!(remark, "left out devices: dev/sda, dev/mem, dev/core");
    assert_eq!(fs::read_dir(root.path().join("dev")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(root.path().join("etc/hostname")).unwrap(), "box");
}

#[test]
fn bombs_are_bounded() {
    let root = tempfile::tempdir().unwrap();
    let archive = layer(&[file("a", "0123456789"), file("b", "0123456789")]);
    let limits = Limits { bytes: 15, entries: 10 };
    assert!(unpack(archive.as_slice(), root.path(), limits).is_err());
    let root = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 100, entries: 1 };
    assert!(unpack(archive.as_slice(), root.path(), limits).is_err());
}

#[test]
fn names_without_end_are_not_read() {
    static LONG: [u8; 8 << 20] = [0; 8 << 20];
    let name = Item("././@LongLink", EntryType::GNULongName, &LONG, 0o644);
    let error = unpacked(&[name, file("a", "x")]).unwrap_err().to_string();
    assert!(error.contains("it has headers without end"), "{error}");
    // Only a directory can be the root: a header for all others that calls itself so is passed over.
    let root = Item("./", EntryType::XGlobalHeader, &LONG, 0o777);
    unpacked(&[root, file("a", "x")]).unwrap();
    // What a link has for content is not its header.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Link);
    header.set_path("b").unwrap();
    header.set_link_name("a").unwrap();
    header.set_size(LONG.len() as u64);
    header.set_cksum();
    let mut archive = layer(&[file("a", "x")]);
    archive.truncate(1024);
    let mut builder = Builder::new(archive);
    builder.append(&header, &LONG[..]).unwrap();
    let root = tempfile::tempdir().unwrap();
    let archive = builder.into_inner().unwrap();
    unpack(archive.as_slice(), root.path(), Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("b")).unwrap(), "x");
}

/// What `docker save` writes of an image with these layers.
fn saved(layers: &[Vec<u8>], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut config = json!({
        "architecture": super::config::architecture(), "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=b"], "User": "app", "Entrypoint": null},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| digest_of(l)).collect::<Vec<_>>()},
    });
    change(&mut config);
    let names: Vec<String> = (0..layers.len()).map(|n| format!("l{n}/layer.tar")).collect();
    let manifest =
        json!([{"Config": "c.json", "RepoTags": ["app:v1"], "Layers": names}]).to_string();
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("c.json", config.to_string().as_bytes());
    add("manifest.json", manifest.as_bytes());
    builder.into_inner().unwrap()
}

struct Bench {
    directory: tempfile::TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("images"), Pulling::default()).unwrap();
        Self { directory, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<super::Loaded>, ImageError> {
        let path: PathBuf = self.directory.path().join("archive");
        fs::write(&path, archive).unwrap();
        self.store.load(&path, &mut |_| ())
    }

    fn layers(&self) -> usize {
        let layers = fs::read_dir(self.directory.path().join("images/layers")).unwrap();
        layers.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    }
}

#[test]
fn a_saved_image_is_found_by_every_name_and_after_a_restart() {
    let bench = Bench::new();
    let layers = [layer(&[file("a", "lower")]), layer(&[file("a", "upper")])];
    let images = bench.load(&saved(&layers, |_| ())).unwrap();
    assert_eq!(images[0].names, ["docker.io/library/app:v1"]);
    let id = images[0].image.id.clone();
    let store =
        ImageStore::open(&bench.directory.path().join("images"), Pulling::default()).unwrap();
    for name in ["app:v1", "docker.io/library/app:v1", id.as_str(), &id[7..], &id[7..19]] {
        let image = store.find(name).unwrap().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(image.config.config.cmd, ["sh"]);
        assert_eq!(fs::read_to_string(image.layers[0].join("a")).unwrap(), "upper");
        assert_eq!(fs::read_to_string(image.layers[1].join("a")).unwrap(), "lower");
    }
    assert!(store.find("app").unwrap().is_none());
    assert_eq!(store.list().unwrap()[0].names, ["docker.io/library/app:v1"]);
}

#[test]
fn compressed_archives_and_shared_layers() {
    let bench = Bench::new();
    let base = layer(&[file("base", "b")]);
    let one = saved(&[base.clone(), layer(&[file("x", "1")])], |_| ());
    let two = saved(&[base, layer(&[file("x", "2")])], |_| ());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&one).unwrap();
    bench.load(&gzip.finish().unwrap()).unwrap();
    bench.load(&two).unwrap();
    assert_eq!(bench.layers(), 3);
    // The name went on to the second image; the first is still there by its ID.
    assert_eq!(bench.store.list().unwrap().len(), 2);
}

#[test]
fn an_oci_layout_is_loaded_by_its_annotation() {
    use sha2::Digest;
    let bench = Bench::new();
    let plain = layer(&[file("a", "x")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let packed = gzip.finish().unwrap();
    let config = json!({"architecture": super::config::architecture(), "os": "linux",
        "rootfs": {"diff_ids": [digest_of(&plain)]}})
    .to_string();
    let manifest = json!({"config": {"digest": digest_of(config.as_bytes())},
        "layers": [{"digest": digest_of(&packed)}]})
    .to_string();
    let index = json!({"manifests": [
        {"digest": digest_of(b"other"), "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest_of(manifest.as_bytes()),
         "annotations": {"org.opencontainers.image.ref.name": "localhost/app:v2"}},
    ]})
    .to_string();
    let archive = |packed: &[u8], manifest: &str| {
        let mut builder = Builder::new(Vec::new());
        let blob = |bytes: &[u8]| {
            format!("blobs/sha256/{}", coracle_api::hex(&sha2::Sha256::digest(bytes)))
        };
        let original = digest_of(&gzip_of(&plain));
        let packed_name = format!("blobs/sha256/{}", &original[7..]);
        for (name, content) in [
            (packed_name, packed),
            (blob(config.as_bytes()), config.as_bytes()),
            (blob(manifest.as_bytes()), manifest.as_bytes()),
            ("index.json".to_owned(), index.as_bytes()),
        ] {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let damaged = bench.load(&archive(b"damaged", &manifest)).unwrap_err();
    assert!(matches!(damaged, ImageError::Digest { .. }), "{damaged}");
    bench.load(&archive(&packed, &manifest)).unwrap();
    let image = bench.store.find("localhost/app:v2").unwrap().unwrap();
    assert_eq!(image.pulled_as, [format!("localhost/app@{}", digest_of(manifest.as_bytes()))]);
}

fn gzip_of(plain: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_layer_that_is_not_what_the_image_says_is_refused() {
    let bench = Bench::new();
    let archive = saved(&[layer(&[file("a", "x")])], |config| {
        config["rootfs"]["diff_ids"] = json!([digest_of(b"something else")]);
    });
    let error = bench.load(&archive).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert_eq!((bench.layers(), bench.store.list().unwrap().len()), (0, 0));
    for bad in ["../../etc", "sha256:../x", "md5:abc"] {
        let archive = saved(&[layer(&[])], |config| config["rootfs"]["diff_ids"] = json!([bad]));
        assert!(bench.load(&archive).is_err(), "{bad}");
    }
    let archive = saved(&[], |config| config["architecture"] = json!("s390x"));
    assert!(matches!(bench.load(&archive), Err(ImageError::Platform(_))));
    assert!(bench.load(b"no archive at all").is_err());
    static ENDLESS: [u8; 65 << 20] = [0; 65 << 20];
    let name = Item("././@LongLink", EntryType::GNULongName, &ENDLESS, 0o644);
    let error = bench.load(&layer(&[name])).unwrap_err().to_string();
    assert_eq!(error, "not an image archive: it has headers without end");
}

#[test]
fn a_used_image_stays_and_an_unused_one_takes_its_layers_along() {
    let bench = Bench::new();
    bench.load(&saved(&[layer(&[file("a", "x")])], |_| ())).unwrap();
    let error = bench.store.remove("app:v1", |_| Some("default/web-0".into())).unwrap_err();
    assert_eq!(error.to_string(), "image \"app:v1\" is used by default/web-0");
    assert!(bench.store.find("app:v1").unwrap().is_some());
    bench.store.remove("app:v1", |_| None).unwrap();
    assert!(bench.store.find("app:v1").unwrap().is_none());
    assert_eq!(bench.layers(), 0);
    assert!(matches!(bench.store.remove("app:v1", |_| None), Err(ImageError::NotFound { .. })));
}

#[test]
fn who_uses_an_image_is_asked_with_nothing_locked() {
    let bench = Bench::new();
    bench.load(&saved(&[layer(&[file("a", "x")])], |_| ())).unwrap();
    let by = |id: &str| {
        // As the node does, and a load beside it.
        assert_eq!(bench.store.find("app:v1").unwrap().unwrap().id, id);
        bench.load(&saved(&[layer(&[file("b", "y")])], |_| ())).unwrap();
        Some("default/web-0".to_owned())
    };
    assert!(matches!(bench.store.remove("app:v1", by), Err(ImageError::InUse { .. })));
    // What was loaded meanwhile has the name now: it is asked for again, and goes alone.
    let calls = std::cell::Cell::new(0);
    let by = |_: &str| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 {
            bench.load(&saved(&[layer(&[file("c", "z")])], |_| ())).unwrap();
        }
        None
    };
    bench.store.remove("app:v1", by).unwrap();
    assert_eq!(calls.get(), 2);
    assert!(bench.store.find("app:v1").unwrap().is_none());
}

#[test]
fn an_image_has_further_names_and_goes_with_the_last() {
    let bench = Bench::new();
    bench.load(&saved(&[layer(&[file("a", "x")])], |_| ())).unwrap();
    assert_eq!(bench.store.tag("app:v1", "other").unwrap(), "docker.io/library/other:latest");
    let missing = bench.store.tag("ap:v1", "x").unwrap_err().to_string();
    assert_eq!(missing, "image \"ap:v1\" not found (there is docker.io/library/app:v1)");
    let digest = format!("x@sha256:{}", "0".repeat(64));
    assert!(matches!(bench.store.tag("other", &digest), Err(ImageError::InvalidName { .. })));
    bench.store.remove("app:v1", |_| Some("default/web-0".into())).unwrap();
    assert!(bench.store.find("other").unwrap().is_some());
    assert!(bench.store.has_for("other", &Credentials::default()).unwrap());
}

/// An archive that, while it is read, has another image begin to arrive.
struct Beside<'a>(&'a [u8], &'a ImageStore);

impl std::io::Read for Beside<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let (begun, told) = std::sync::mpsc::channel();
        let store = self.1.clone();
        std::thread::spawn(move || {
            drop(store.arriving());
            begun.send(())
        });
        let waited = told.recv_timeout(std::time::Duration::from_secs(60));
        waited.map_err(|_| std::io::Error::other("it waits for the layer"))?;
        self.0.read(buffer)
    }
}

#[test]
fn nobody_waits_for_a_layer_that_is_unpacked() {
    let bench = Bench::new();
    let archive = layer(&[file("a", "x")]);
    let digest = digest_of(&archive);
    bench.store.add_layer(0, &digest, Beside(&archive, &bench.store)).unwrap();
    assert!(bench.store.has_layer(&digest));
}

#[test]
fn what_no_pod_runs_is_pruned() {
    let bench = Bench::new();
    bench.load(&saved(&[layer(&[file("a", "x")])], |_| ())).unwrap();
    let first = bench.store.find("app:v1").unwrap().unwrap().id;
    bench.load(&saved(&[layer(&[file("b", "y")])], |_| ())).unwrap();
    // The second has taken the name from the first.
    assert_eq!(bench.store.prune(false, |_| Some("default/web-0".into())).unwrap(), [""; 0]);
    assert_eq!(bench.store.prune(false, |_| None).unwrap(), [first]);
    assert_eq!(bench.store.prune(false, |_| None).unwrap(), [""; 0]);
    let named = "docker.io/library/app:v1";
    assert_eq!(bench.store.prune(true, |_| Some("default/web-0".into())).unwrap(), [""; 0]);
    assert_eq!(bench.store.prune(true, |_| None).unwrap(), [named]);
    assert_eq!(bench.layers(), 0);
}

#[test]
fn a_removal_takes_no_layer_of_an_image_that_is_on_its_way() {
    let bench = Bench::new();
    bench.load(&saved(&[layer(&[file("a", "x")])], |_| ())).unwrap();
    let next = saved(&[layer(&[file("b", "y")]), layer(&[file("c", "z")])], |_| ());
    let path = bench.directory.path().join("next");
    fs::write(&path, next).unwrap();
    let mut steps = Vec::new();
    let mut progress = |text: &str| {
        steps.push(text.to_owned());
        if steps.len() == 2 {
            bench.store.remove("app:v1", |_| None).unwrap();
        }
    };
    let loaded = bench.store.load(&path, &mut progress).unwrap();
    let [upper, lower] = &loaded[0].image.layers[..] else { panic!("{loaded:?}") };
    assert!(lower.join("b").exists() && upper.join("c").exists(), "{steps:?}");
    // What the removal left behind goes with the next one.
    bench.store.remove("app:v1", |_| None).unwrap();
    assert_eq!(bench.layers(), 0);
}

#[test]
fn an_archive_that_is_cut_off_is_refused_also_when_its_layers_are_known() {
    let bench = Bench::new();
    let whole = saved(&[layer(&[file("a", "x")])], |_| ());
    bench.load(&whole).unwrap();
    let mut cut = whole.clone();
    // Within the manifest, which comes last, but for tar's padding and end mark.
    cut.truncate(whole.len() - 1024 - 512 + 10);
    let error = bench.load(&cut).unwrap_err().to_string();
    assert!(error.contains("cut off within manifest.json"), "{error}");
}

#[test]
fn an_image_without_a_name_is_told_by_its_id_alone() {
    let bench = Bench::new();
    let layers = [layer(&[file("a", "x")])];
    let named = saved(&layers, |_| ());
    bench.load(&named).unwrap();
    let text = String::from_utf8_lossy(&named).into_owned();
    assert!(text.contains(r#"["app:v1"]"#));
    // The same bytes with no tag, as `docker save ID` writes them.
    let untagged: Vec<u8> =
        replace(&named, br#""RepoTags":["app:v1"]"#, br#""RepoTags":null      "#);
    let loaded = bench.load(&untagged).unwrap();
    assert_eq!((loaded.len(), loaded[0].names.len()), (1, 0));
    assert_eq!(loaded[0].image.names, ["docker.io/library/app:v1"], "it had that name before");
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn what_was_half_unpacked_is_cleaned_at_start() {
    let bench = Bench::new();
    let scratch = bench.directory.path().join("images/tmp/x/layer");
    fs::create_dir_all(&scratch).unwrap();
    ImageStore::open(&bench.directory.path().join("images"), Pulling::default()).unwrap();
    assert!(!scratch.exists());
}

#[test]
fn archives_of_a_directory_are_loaded_once_and_again_when_they_change() {
    let bench = Bench::new();
    let directory = bench.directory.path().join("archives");
    assert!(bench.store.preload(&directory).unwrap().is_empty(), "there is none");
    fs::create_dir(&directory).unwrap();
    let first = saved(&[layer(&[file("a", "x")])], |_| ());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&first).unwrap();
    fs::write(directory.join("b.tar.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(directory.join("a.tar"), "no archive").unwrap();
    fs::write(directory.join("README"), "not looked at").unwrap();
    let told = |store: &ImageStore| {
        let told = store.preload(&directory).unwrap().into_iter().map(|one| {
            let name = one.file.file_name().unwrap().to_string_lossy().into_owned();
            (name, one.result.map_err(|error| error.to_string()))
        });
        told.collect::<Vec<_>>()
    };
    let broken = || {
        let why = "not an image archive: it is no tar archive, or a damaged one";
        ("a.tar".to_owned(), Err(why.to_owned()))
    };
    let loaded = |name: &str| (name.to_owned(), Ok(vec!["docker.io/library/app:v1".to_owned()]));
    assert_eq!(told(&bench.store), [broken(), loaded("b.tar.gz")]);
    assert_eq!(told(&bench.store), [broken()], "it is tried again, the other is here");
    // What was removed stays away, also after a restart.
    bench.store.remove("app:v1", |_| None).unwrap();
    let store = ImageStore::open(&bench.directory.path().join("images"), Pulling::default());
    let store = store.unwrap();
    assert_eq!(told(&store), [broken()]);
    assert!(store.find("app:v1").unwrap().is_none());
    fs::write(directory.join("a.tar"), &first).unwrap();
    assert_eq!(told(&store), [loaded("a.tar")]);
}
