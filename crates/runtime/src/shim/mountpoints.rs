//! The lowest layer of a root: an empty place for each thing that is mounted in it.
//!
//! A place that a root lacks would be made in the container's own layer, a directory after the
//! other, which takes a disk longer than the mount. So it is made once, in a layer that all
//! containers share which mount alike; such as the replicas of a set.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::ContainerSpec;

/// What the runtime mounts in every root.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The layer for what `container` mounts, which is made in `parent` if it is not there.
pub fn layer(parent: &Path, container: &ContainerSpec) -> io::Result<PathBuf> {
    let places = places(container);
    let mut hasher = DefaultHasher::new();
    places.hash(&mut hasher);
    // Should two sets of places have one number, the second container makes what it lacks.
    let layer = parent.join(format!("{:016x}", hasher.finish()));
    if !layer.exists() {
        make(&layer, &places)?;
    }
    Ok(layer)
}

/// Paths below `/`, and whether each is a directory.
fn places(container: &ContainerSpec) -> BTreeMap<&Path, bool> {
    let kernel = KERNEL.iter().map(|path| (Path::new(path), true));
    let own = container.mounts.iter().map(|mount| (mount.target.as_path(), mount.source.is_dir()));
    let all: BTreeMap<_, _> = kernel.chain(own).collect();
    let is_covered = |path: &Path| path.ancestors().skip(1).any(|above| all.contains_key(above));
    let is_plain = |path: &Path| path.components().all(|part| part != Component::ParentDir);
    let visible = |path: &Path| is_plain(path) && !is_covered(path);
    all.iter()
        .filter(|(path, _)| visible(path))
        .filter_map(|(path, is_directory)| Some((path.strip_prefix("/").ok()?, *is_directory)))
        .filter(|(path, _)| !path.as_os_str().is_empty())
        .collect()
}

/// Under another name until it is complete: another shim may look for the same.
fn make(layer: &Path, places: &BTreeMap<&Path, bool>) -> io::Result<()> {
    let draft = layer.with_extension(std::process::id().to_string());
    fs::create_dir_all(&draft)?;
    for (place, is_directory) in places {
        let place = draft.join(place);
        let directory = if *is_directory { Some(place.as_path()) } else { place.parent() };
        fs::create_dir_all(directory.unwrap_or(&draft))?;
        if !is_directory {
            File::create(&place)?;
        }
    }
    match fs::rename(&draft, layer) {
        Err(_) if layer.exists() => fs::remove_dir_all(&draft),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mount;

    fn container(mounts: &[(&str, &str)]) -> ContainerSpec {
        let mount = |(source, target): &(&str, &str)| Mount {
            source: source.into(),
            target: target.into(),
            ..Mount::default()
        };
        ContainerSpec { mounts: mounts.iter().map(mount).collect(), ..ContainerSpec::default() }
    }

    #[test]
    fn containers_that_mount_alike_share_a_layer_with_a_place_for_each_mount() {
        let parent = tempfile::tempdir().unwrap();
        let mounts = [("/dev/null", "/etc/app/config"), ("/tmp", "/var/lib/app")];
        let made = layer(parent.path(), &container(&mounts)).unwrap();
        assert!(made.join("etc/app/config").is_file() && made.join("var/lib/app").is_dir());
        assert!(made.join("proc").is_dir());
        let [first, second] = mounts;
        let again = layer(parent.path(), &container(&[second, first])).unwrap();
        assert_eq!(again, made);
        let other = layer(parent.path(), &container(&[first])).unwrap();
        assert!(other != made && !other.join("var").exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2, "nothing but the layers");
    }

    #[test]
    fn what_a_mount_hides_or_leads_out_has_no_place() {
        let mounts = [("/tmp", "/data"), ("/tmp", "/data/below"), ("/dev/null", "/dev/message")];
        let container = container(&[&mounts[..], &[("/tmp", "/../../up"), ("/tmp", "/")]].concat());
        let kernel_and_data = ["data", "dev", "proc", "sys"];
        let found = places(&container);
        // A volume at `/` hides all of them, and would need none itself.
        assert!(found.is_empty(), "{found:?}");
        let mut container = container;
        container.mounts.pop();
        assert!(places(&container).into_keys().eq(kernel_and_data.map(Path::new)));
    }
}
