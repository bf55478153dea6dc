//! A pod's volumes, put in place and taken away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use coracle_api::Quantity;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod,
    Volume,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::payload::{Contents, File, Payload, contents};
use super::{VolumeError, atomic, failed, sized};
use crate::pods::container::Mounted;
use crate::pods::{PodId, fields, user};

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The cluster's data directory.
    pub data: PathBuf,
}

impl Places {
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub fn all_logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    pub fn logs(&self, id: &PodId) -> PathBuf {
        let name = format!("{}_{}_{}", id.namespace, id.name, id.uid);
        self.all_logs().join(name)
    }

    pub fn persistent(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// What a container writes its last words to.
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join(format!("termination-log-{container}-{attempt}"))
    }

    /// The pod's files, in memory: those that every container gets, and volumes made of objects.
    /// Secrets and tokens never reach a disk, and a disk takes longer to make many small files.
    ///
    /// # Errors
    /// When the file system for them cannot be mounted.
    pub fn files(&self, uid: &str) -> Result<PathBuf, VolumeError> {
        let directory = self.pod(uid).join("files");
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        if !sized::is_mounted(&directory)? {
            mount_tmpfs(&directory, "mode=755")?;
        }
        Ok(directory)
    }
}

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
}

impl Mounter<'_> {
    /// Puts all volumes of the pod in place; doing it again changes only what is new. Blocks.
    ///
    /// # Errors
    /// The first volume that cannot be there yet; those before it are in `mounted`.
    pub fn mount(&self, pod: &Pod, mounted: &mut MountedVolumes) -> Result<(), MountError> {
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let name = volume.name.clone();
            let done = self.mount_one(pod, volume);
            let done = done.map_err(|source| MountError { volume: name.clone(), source })?;
            mounted.insert(name, done);
        }
        Ok(())
    }

    fn mount_one(&self, pod: &Pod, volume: &Volume) -> Result<Mounted, VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let group = fs_group(pod);
        if let Some(source) = &volume.empty_dir {
            let directory = self.places.pod(uid).join("empty-dir").join(&volume.name);
            let path = empty_dir(&directory, source)?;
            return owned(path, group, false);
        }
        if let Some(source) = &volume.host_path {
            return host_path(source);
        }
        if let Some(source) = &volume.persistent_volume_claim {
            let readonly = source.read_only == Some(true);
            let path = self.claimed(pod, &source.claim_name)?;
            return owned(path, group, readonly);
        }
        if volume.ephemeral.is_some() {
            // The claim has the pod's name in front.
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            let path = self.claimed(pod, &format!("{pod_name}-{}", volume.name))?;
            return owned(path, group, false);
        }
        match contents(pod, volume, self.snapshot, self.allocatable)? {
            Some(contents) => self.files(pod, volume, contents),
            None => {
                let why = format!("volume {} is of a type that is not supported", volume.name);
                Err(VolumeError::Unsupported(why))
            }
        }
    }

    fn files(
        &self,
        pod: &Pod,
        volume: &Volume,
        contents: Contents,
    ) -> Result<Mounted, VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let directory = self.places.files(uid)?.join("volumes").join(&volume.name);
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        chmod(&directory, 0o777)?;
        let payload = self.with_tokens(pod, &volume.name, contents)?;
        atomic::write(&directory, &payload, fs_group(pod))?;
        Ok(Mounted { path: directory, readonly: true })
    }

    /// A token is for the pod's user and group alone, where they are known.
    fn with_tokens(
        &self,
        pod: &Pod,
        volume: &str,
        contents: Contents,
    ) -> Result<Payload, VolumeError> {
        let owner = user::of_all(pod);
        let is_owned = owner.is_some() || fs_group(pod).is_some();
        let mut files = contents.files;
        for token in contents.tokens {
            let value = self.tokens.get(&(volume.to_owned(), token.path.clone()));
            let missing = || VolumeError::Missing("the token is not there yet".to_owned());
            let value = value.ok_or_else(missing)?.clone();
            let mode = if is_owned { 0o600 } else { token.mode };
            files.insert(token.path, File { content: value.into_bytes(), mode, owner });
        }
        Ok(files)
    }

    fn claimed(&self, pod: &Pod, claim: &str) -> Result<PathBuf, VolumeError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let missing = |what: String| VolumeError::Missing(what);
        let object = self.snapshot.find("persistentvolumeclaims", namespace, claim);
        let object = object.and_then(|object| object.view::<PersistentVolumeClaim>().ok());
        let object = object
            .ok_or_else(|| missing(format!("persistentvolumeclaim \"{claim}\" not found")))?;
        let volume = object.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let bound = object.status.as_ref().and_then(|status| status.phase.as_deref());
        let volume = volume.filter(|_| bound == Some("Bound"));
        let volume = volume.ok_or_else(|| VolumeError::Unbound(claim.to_owned()))?;
        let persistent = self.snapshot.find("persistentvolumes", "", &volume);
        let persistent = persistent.and_then(|object| object.view::<PersistentVolume>().ok());
        let persistent = persistent
            .ok_or_else(|| missing(format!("persistentvolume \"{volume}\" not found")))?;
        persistent_volume(&persistent, self.places)
    }
}

/// A volume of ours has a size that holds; another's directory is taken as it is.
fn persistent_volume(volume: &PersistentVolume, places: &Places) -> Result<PathBuf, VolumeError> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    let local = spec.local.map(|local| local.path);
    let path = local.or_else(|| spec.host_path.as_ref().map(|host| host.path.clone()));
    let Some(path) = path.map(PathBuf::from) else {
        let why = format!("volume {name} is of a type that is not supported");
        return Err(VolumeError::Unsupported(why));
    };
    if path.parent() != Some(&places.persistent()) {
        let source = spec.host_path.unwrap_or_else(|| HostPathVolumeSource {
            path: path.display().to_string(),
            type_: Some("Directory".to_owned()),
        });
        return host_path(&source).map(|mounted| mounted.path);
    }
    let capacity = spec.capacity.and_then(|capacity| capacity.get("storage").cloned());
    let bytes = capacity.and_then(|amount| Quantity::parse(&amount.0).ok()).map(Quantity::value);
    sized::mount(&path, bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let security = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(security.fs_group?).ok()
}

/// With `fsGroup`, the whole volume belongs to the group, and new files do as well.
fn owned(path: PathBuf, group: Option<u32>, readonly: bool) -> Result<Mounted, VolumeError> {
    if let Some(group) = group.filter(|_| !readonly) {
        own(&path, group)?;
    }
    Ok(Mounted { path, readonly })
}

fn own(path: &Path, group: u32) -> Result<(), VolumeError> {
    let metadata = fs::symlink_metadata(path).map_err(failed("read", path))?;
    if metadata.is_symlink() {
        return std::os::unix::fs::lchown(path, None, Some(group)).map_err(failed("chown", path));
    }
    chown(path, None, Some(group)).map_err(failed("chown", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_dir() {
        return chmod(path, mode | 0o660);
    }
    chmod(path, mode | 0o2770)?;
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        own(&entry.map_err(failed("read", path))?.path(), group)?;
    }
    Ok(())
}

fn chmod(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))
}

fn empty_dir(directory: &Path, source: &EmptyDirVolumeSource) -> Result<PathBuf, VolumeError> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    let limit = limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|it| *it > 0);
    match (source.medium.as_deref(), limit) {
        (Some("Memory"), limit) if !sized::is_mounted(directory)? => {
            let options = limit.map(|bytes| format!("size={bytes}")).unwrap_or_default();
            mount_tmpfs(directory, &options)?;
        }
        (Some("Memory"), _) => {}
        (_, Some(limit)) => return sized::mount(directory, limit),
        _ => {}
    }
    chmod(directory, 0o777)?;
    Ok(directory.to_owned())
}

fn mount_tmpfs(directory: &Path, options: &str) -> Result<(), VolumeError> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    mount("tmpfs", directory, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
        .map_err(|error| failed("mount", directory)(error.into()))
}

fn host_path(source: &HostPathVolumeSource) -> Result<Mounted, VolumeError> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if kind == "DirectoryOrCreate" && !path.exists() {
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        chmod(&path, 0o755)?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        fs::write(&path, []).map_err(failed("create", &path))?;
        chmod(&path, 0o644)?;
    }
    let found = fs::metadata(&path).map(|metadata| metadata.file_type());
    let fits = |wanted: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(wanted);
    let (ok, wanted) = match kind {
        // A directory is made where there is nothing, as runtimes have always done.
        "" => {
            if found.is_err() {
                fs::create_dir_all(&path).map_err(failed("create", &path))?;
            }
            (true, "")
        }
        "Directory" | "DirectoryOrCreate" => (fits(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (fits(fs::FileType::is_file), "a file"),
        "Socket" => (fits(fs::FileType::is_socket), "a socket file"),
        "CharDevice" => (fits(fs::FileType::is_char_device), "a character device"),
        "BlockDevice" => (fits(fs::FileType::is_block_device), "a block device"),
        other => {
            let why = format!("{other} is an invalid volume type");
            return Err(VolumeError::Unsupported(why));
        }
    };
    if !ok {
        let why = format!("hostPath type check failed: {} is not {wanted}", path.display());
        return Err(VolumeError::Unsupported(why));
    }
    Ok(Mounted { path, readonly: false })
}

/// Unmounts everything below `directory`, the innermost first.
///
/// # Errors
/// When something still uses one of them.
pub(crate) fn unmount_below(directory: &Path) -> Result<(), VolumeError> {
    let mut below: Vec<_> = sized::mounts()?
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(directory))
        .collect();
    below.sort();
    for path in below.iter().rev() {
        unmount(path, UnmountFlags::empty())
            .map_err(|error| failed("unmount", path)(error.into()))?;
    }
    Ok(())
}

/// Takes the pod's volumes away, with everything in them but what is persistent. `others` are the
/// persistent volumes' directories that other pods still use.
///
/// # Errors
/// When something still uses one of them.
pub(crate) fn unmount_all(
    places: &Places,
    uid: &str,
    persistent: &[PathBuf],
    others: &[PathBuf],
) -> Result<(), VolumeError> {
    let directory = places.pod(uid);
    unmount_below(&directory)?;
    for volume in persistent.iter().filter(|volume| !others.contains(volume)) {
        sized::release(volume)?;
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", &directory)(error))
        }
        _ => Ok(()),
    }
}

/// The directories of the pod's persistent volumes that are ours: `DIR` of `DIR/mount/data`.
pub(crate) fn persistent_directories(places: &Places, mounted: &MountedVolumes) -> Vec<PathBuf> {
    let parent = places.persistent();
    let ours = |volume: &Mounted| {
        let directory = volume.path.parent()?.parent()?;
        (directory.parent() == Some(&parent)).then(|| directory.to_owned())
    };
    mounted.values().filter_map(ours).collect()
}
