//! A pod's volumes, put in place and taken away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use coracle_api::Quantity;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

use super::claims::{self, Source};
use super::payload::{Contents, File, Payload, contents};
use super::places::mount_tmpfs;
use super::sized::Sized;
use super::{Places, VolumeError, atomic, failed, host_path, mount_table, own, uses};
use crate::pods::container::Mounted;
use crate::pods::{fields, user};

/// What an `emptyDir` holds beyond its limit, of which a quarter: at least, and at most.
const MARGIN: (u64, u64) = (1 << 20, 256 << 20);

/// Volumes in place, by name.
pub(crate) type MountedVolumes = BTreeMap<String, Mounted>;

/// A volume that is not in place: which, and why.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
pub(crate) struct MountError {
    pub volume: String,
    pub source: VolumeError,
}

/// What mounting a pod's volumes needs beside the pod.
pub(crate) struct Mounter<'a> {
    pub places: &'a Places,
    pub snapshot: &'a Snapshot,
    pub allocatable: &'a fields::Allocatable,
    /// Tokens that were asked for already, by volume and path.
    pub tokens: &'a BTreeMap<(String, String), String>,
    /// The pod ran before: what it has is its own by now.
    pub is_running: bool,
}

/// A volume whose content is the pod's, and whose group may be.
struct Filled {
    path: PathBuf,
    /// Others work in it: another pod, or this one since before.
    is_used: bool,
    readonly: bool,
    /// Kept over pods: `fsGroupChangePolicy` counts.
    is_persistent: bool,
}

impl Mounter<'_> {
    /// Puts all volumes of the pod in place; doing it again changes only what is new, and nothing of
    /// who owns them. Blocks.
    ///
    /// # Errors
    /// The first volume that cannot be there yet; those before it are in `mounted`.
    pub fn mount(&self, pod: &Pod, mounted: &mut MountedVolumes) -> Result<(), MountError> {
        self.each(pod, mounted, |volume| self.mount_one(pod, volume).map(Some))
    }

    /// Writes the files anew that are made from objects, where those have changed. Nothing else of a
    /// pod that runs is touched. Blocks.
    ///
    /// # Errors
    /// As [`Self::mount`].
    pub fn refresh(&self, pod: &Pod, mounted: &mut MountedVolumes) -> Result<(), MountError> {
        self.each(pod, mounted, |volume| self.files(pod, volume))
    }

    fn each(
        &self,
        pod: &Pod,
        mounted: &mut MountedVolumes,
        place: impl Fn(&Volume) -> Result<Option<Mounted>, VolumeError>,
    ) -> Result<(), MountError> {
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let name = volume.name.clone();
            let done = place(volume);
            let done = done.map_err(|source| MountError { volume: name.clone(), source })?;
            mounted.extend(done.map(|done| (name, done)));
        }
        Ok(())
    }

    fn mount_one(&self, pod: &Pod, volume: &Volume) -> Result<Mounted, VolumeError> {
        let uid = uid(pod);
        if let Some(source) = &volume.empty_dir {
            let directory = self.places.empty_dir(uid, &volume.name);
            let was_there = is_in_place(&directory, source)?;
            let path = empty_dir(&directory, source, self.is_running)?;
            let is_used = self.is_running && was_there;
            let filled = Filled { path, is_used, readonly: false, is_persistent: false };
            return self.owned(pod, volume, filled);
        }
        if volume.image.is_some() {
            // It is mounted when the first container that has it starts: it may have to be pulled.
            return Ok(Mounted { path: self.places.image(uid, &volume.name).0, readonly: true });
        }
        if let Some(source) = &volume.host_path {
            return Ok(Mounted { path: host_path::check(source)?, readonly: false });
        }
        if let Some(source) = claims::source(self.snapshot, pod, volume)? {
            let claim = volume.persistent_volume_claim.as_ref();
            let readonly = claim.is_some_and(|claim| claim.read_only == Some(true));
            return self.claimed(pod, volume, source, readonly);
        }
        self.files(pod, volume)?.ok_or_else(|| {
            let why = format!("volume {} is of a type that is not supported", volume.name);
            VolumeError::Unsupported(why)
        })
    }

    /// A volume that is made from objects; `None` when this one is not.
    fn files(&self, pod: &Pod, volume: &Volume) -> Result<Option<Mounted>, VolumeError> {
        let Some(contents) = contents(pod, volume, self.snapshot, self.allocatable)? else {
            return Ok(None);
        };
        let directory = self.places.files(uid(pod))?.join("volumes").join(&volume.name);
        if !directory.exists() {
            make_open(&directory)?;
        }
        let payload = self.with_tokens(pod, &volume.name, contents)?;
        atomic::write(&directory, &payload, fs_group(pod))?;
        Ok(Some(Mounted { path: directory, readonly: true }))
    }

    /// A token is for the pod's user and group alone, where they are known; certificates too, as
    /// upstream has it.
    fn with_tokens(
        &self,
        pod: &Pod,
        volume: &str,
        contents: Contents,
    ) -> Result<Payload, VolumeError> {
        let owner = user::of_all(pod);
        let is_owned = owner.is_some() || fs_group(pod).is_some();
        let mut files = contents.files;
        for (path, file) in contents.anchors {
            let mode = if is_owned { 0o600 } else { file.mode };
            files.insert(path, File { mode, owner, ..file });
        }
        for token in contents.tokens {
            let value = self.tokens.get(&(volume.to_owned(), token.path.clone()));
            let missing = || VolumeError::Missing("the token is not there yet".to_owned());
            let value = value.ok_or_else(missing)?.clone();
            let mode = if is_owned { 0o600 } else { token.mode };
            files.insert(token.path, File { content: value.into_bytes(), mode, owner });
        }
        Ok(files)
    }

    fn claimed(
        &self,
        pod: &Pod,
        volume: &Volume,
        source: Source,
        readonly: bool,
    ) -> Result<Mounted, VolumeError> {
        let (name, bytes) = match source {
            Source::Ours(name, bytes) => (name, bytes),
            Source::Host(source) => {
                let path = host_path::check(&source)?;
                let is_used = self.is_running;
                let filled = Filled { path, is_used, readonly, is_persistent: true };
                return self.owned(pod, volume, filled);
            }
        };
        let directory = self.places.persistent(&name);
        let _turn = uses::Turn::of(&directory)?;
        uses::begin(self.places, uid(pod), &name)?;
        let sized = Sized::of(&directory);
        let is_used =
            uses::users(self.places, &name)?.len() > 1 || self.is_running && sized.is_mounted()?;
        let path = if self.is_running { sized.keep(bytes) } else { sized.mount(bytes) }?;
        self.owned(pod, volume, Filled { path, is_used, readonly, is_persistent: true })
    }

    /// With `fsGroup`, the volume belongs to the group from the moment it is mounted for the pod:
    /// once, and not when another pod is at work in it. The mark is lost with the mounts.
    fn owned(&self, pod: &Pod, volume: &Volume, filled: Filled) -> Result<Mounted, VolumeError> {
        let Filled { path, is_used, readonly, is_persistent } = filled;
        if let Some(group) = fs_group(pod).filter(|_| !readonly) {
            let marks = self.places.files(uid(pod))?.join("owned");
            let mark = marks.join(&volume.name);
            if !mark.exists() {
                let only_on_mismatch = is_persistent && changes_on_mismatch(pod);
                let is_given = || only_on_mismatch && own::is_given(&path, group).unwrap_or(false);
                if !is_used && !is_given() {
                    own::give(&path, group).map_err(failed("apply fsGroup to", &path))?;
                }
                fs::create_dir_all(&marks).map_err(failed("create", &marks))?;
                fs::write(&mark, []).map_err(failed("create", &mark))?;
            }
        }
        Ok(Mounted { path, readonly })
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let security = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(security.fs_group?).ok()
}

fn changes_on_mismatch(pod: &Pod) -> bool {
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    policy == Some("OnRootMismatch")
}

/// A directory that everybody may write to, until somebody says otherwise.
fn make_open(directory: &Path) -> Result<(), VolumeError> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777))
        .map_err(failed("chmod", directory))
}

fn is_in_place(directory: &Path, source: &EmptyDirVolumeSource) -> Result<bool, VolumeError> {
    match (source.medium.as_deref(), &source.size_limit) {
        (Some("Memory"), _) => mount_table::is_mounted(directory),
        (_, Some(_)) => Sized::of(directory).is_mounted(),
        _ => Ok(directory.exists()),
    }
}

fn empty_dir(
    directory: &Path,
    source: &EmptyDirVolumeSource,
    is_running: bool,
) -> Result<PathBuf, VolumeError> {
    let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    let limit = limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|it| *it > 0);
    let in_memory = source.medium.as_deref() == Some("Memory");
    if let (Some(limit), false) = (limit, in_memory) {
        let sized = Sized::of(directory);
        // A little more, so that one who writes too much is seen to have done so; and no more.
        let limit = limit.saturating_add((limit / 4).clamp(MARGIN.0, MARGIN.1));
        return if is_running { sized.keep(limit) } else { sized.mount(limit) };
    }
    let is_new = !directory.exists();
    if is_new {
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
    }
    if in_memory && !mount_table::is_mounted(directory)? {
        let size = limit.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
        mount_tmpfs(directory, &format!("mode=777{size}"))?;
    } else if is_new {
        make_open(directory)?;
    }
    Ok(directory.to_owned())
}

/// Takes the pod's volumes away, with everything in them but what is persistent. A persistent volume
/// that no other pod uses is unmounted. It may be done again from wherever it failed. Blocks.
///
/// # Errors
/// When something still uses one of them.
pub(crate) fn unmount_all(places: &Places, uid: &str) -> Result<(), VolumeError> {
    let directory = places.pod(uid);
    mount_table::unmount_below(&directory)?;
    for volume in uses::volumes(places, uid)? {
        let persistent = places.persistent(&volume);
        let _turn = uses::Turn::of(&persistent)?;
        if !uses::end(places, uid, &volume)? {
            Sized::of(&persistent).release()?;
        }
    }
    coracle_runtime::remove_all(&directory).map_err(failed("remove", &directory))
}
