//! Who runs a container: the pod's wishes, the image's `USER`, and its user database.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coracle_runtime::User;
use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::ContainerError;

/// A user database is not read beyond this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The user that every container of the pod is told to run as; `None` when one is told nothing, or
/// another.
pub(crate) fn of_all(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref().and_then(|it| it.run_as_user);
    let mut users = super::containers(pod).into_iter().map(|container| {
        container.security_context.as_ref().and_then(|it| it.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// The user of a container whose image has these `layers` (topmost first) and this `USER`.
///
/// # Errors
/// When it must not be root and is, or may be; when a name is not in the image's database.
pub(crate) fn user(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    layers: &[PathBuf],
) -> Result<User, ContainerError> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let wanted = own.and_then(|it| it.run_as_user).or(of_pod.and_then(|it| it.run_as_user));
    let group = own.and_then(|it| it.run_as_group).or(of_pod.and_then(|it| it.run_as_group));
    let not_root = own.and_then(|it| it.run_as_non_root);
    let not_root = not_root.or(of_pod.and_then(|it| it.run_as_non_root)) == Some(true);
    if not_root {
        check_not_root(pod, container, wanted, image_user)?;
    }
    let passwd = image_file(layers, "etc/passwd");
    let groups = image_file(layers, "etc/group");
    let (name, group_name) = image_user.split_once(':').unwrap_or((image_user, ""));
    let text = wanted.map_or_else(|| name.to_owned(), |id| id.to_string());
    let found = lookup_user(&text, &passwd)?;
    let from_image = if group_name.is_empty() || wanted.is_some() {
        found.gid
    } else {
        lookup_group(group_name, &groups)?
    };
    let gid = group.and_then(|id| u32::try_from(id).ok()).unwrap_or(from_image);
    let more = of_pod
        .into_iter()
        .flat_map(|it| it.supplemental_groups.iter().flatten().copied().chain(it.fs_group));
    let strict = of_pod.and_then(|it| it.supplemental_groups_policy.as_deref()) == Some("Strict");
    let mut gids: Vec<u32> = more.filter_map(|id| u32::try_from(id).ok()).collect();
    if !strict {
        gids.extend(memberships(&found.name, &groups));
    }
    gids.sort_unstable();
    gids.dedup();
    Ok(User { uid: found.uid, gid, additional_gids: gids })
}

fn check_not_root(
    pod: &Pod,
    container: &Container,
    wanted: Option<i64>,
    image_user: &str,
) -> Result<(), ContainerError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let whose = format!("(pod: \"{name}_{namespace}({uid})\", container: {})", container.name);
    let user = image_user.split(':').next().unwrap_or_default();
    let why = match (wanted, user.parse::<u32>()) {
        (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
        (Some(_), _) => return Ok(()),
        (None, Ok(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
        (None, Ok(_)) => return Ok(()),
        (None, Err(_)) if user.is_empty() => {
            "container has runAsNonRoot and image will run as root".to_owned()
        }
        (None, Err(_)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        ),
    };
    Err(ContainerError::config(format!("{why} {whose}")))
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    uid: u32,
    gid: u32,
}

/// A name must be in the database; a number need not. Nobody is root.
fn lookup_user(text: &str, passwd: &str) -> Result<Found, ContainerError> {
    let text = if text.is_empty() { "0" } else { text };
    let number = text.parse::<u32>().ok();
    for line in passwd.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        if name == text || number == Some(uid) {
            return Ok(Found { name: name.to_owned(), uid, gid });
        }
    }
    match number {
        Some(uid) => Ok(Found { name: String::new(), uid, gid: 0 }),
        None => {
            let why = format!("unable to find user {text}: no matching entries in passwd file");
            Err(ContainerError::create(why))
        }
    }
}

fn lookup_group(text: &str, groups: &str) -> Result<u32, ContainerError> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    for line in groups.lines() {
        let fields: Vec<_> = line.split(':').collect();
        if let [name, _, gid, ..] = fields[..]
            && name == text
            && let Ok(gid) = gid.parse()
        {
            return Ok(gid);
        }
    }
    let why = format!("unable to find group {text}: no matching entries in group file");
    Err(ContainerError::create(why))
}

fn memberships(user: &str, groups: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else { return None };
        members
            .split(',')
            .any(|member| !user.is_empty() && member == user)
            .then(|| gid.parse().ok())?
    };
    groups.lines().filter_map(member).collect()
}

/// A file of the image, from the topmost layer that has it; empty when none has. The image's own
/// links are followed within its layer and nowhere else.
fn image_file(layers: &[PathBuf], path: &str) -> String {
    for layer in layers {
        match read_inside(layer, path) {
            Ok(text) => return text,
            // A whiteout is a device: it hides what the layers below have.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return String::new(),
            Err(_) => {}
        }
    }
    String::new()
}

fn read_inside(layer: &Path, path: &str) -> io::Result<String> {
    let root = rustix::fs::openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let probe = openat2(&root, path, OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT)?;
    if !fs::File::from(probe).metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let mut text = String::new();
    fs::File::from(file).take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
