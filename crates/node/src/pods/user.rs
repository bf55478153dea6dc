//! Who runs a container: the pod's wishes, the image's `USER`, and its user database.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coracle_runtime::{User, despite_renames};
use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::ContainerError;

/// A user database is not read beyond this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The highest ID, as upstream's. The highest number of all, `-1`, means "as it is" to the kernel: a
/// process that is to be that user stays root.
const ID_MAX: u32 = i32::MAX as u32;

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
    let passwd = image_file(layers, "etc/passwd");
    let groups = image_file(layers, "etc/group");
    let (name, group_name) = image_user.split_once(':').unwrap_or((image_user, ""));
    let who = wanted.map_or_else(|| Who::of_text(name), Who::of_number)?;
    if not_root && let Some(why) = why_root(wanted, who) {
        return Err(ContainerError::config(format!("{why} {}", whose(pod, container))));
    }
    let found = lookup_user(who, &passwd)?;
    let from_image = match Who::of_text(group_name)? {
        _ if group_name.is_empty() || wanted.is_some() => found.gid,
        who => lookup_group(who, &groups)?,
    };
    let gid = group.map_or(Ok(from_image), id)?;
    let more = of_pod
        .into_iter()
        .flat_map(|it| it.supplemental_groups.iter().flatten().copied().chain(it.fs_group));
    let strict = of_pod.and_then(|it| it.supplemental_groups_policy.as_deref()) == Some("Strict");
    let mut gids = more.map(id).collect::<Result<Vec<u32>, _>>()?;
    if !strict {
        gids.extend(memberships(&found.name, &groups));
    }
    gids.sort_unstable();
    gids.dedup();
    Ok(User { uid: found.uid, gid, additional_gids: gids })
}

/// A user or group as it was asked for. A number is an ID and never a name, whatever names a database
/// has: `1000:x:0:0::/:/bin/sh` must not make root of user 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

impl<'a> Who<'a> {
    /// Of an image's `USER`. Nobody is root.
    fn of_text(text: &'a str) -> Result<Self, ContainerError> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if text.is_empty() {
            Ok(Self::Id(0))
        } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number that is none of 64 bits is out of range, too.
            Self::of_number(text.parse().unwrap_or(i64::MAX))
        } else {
            Ok(Self::Name(text))
        }
    }

    fn of_number(number: i64) -> Result<Self, ContainerError> {
        id(number).map(Self::Id)
    }
}

fn id(number: i64) -> Result<u32, ContainerError> {
    let found = u32::try_from(number).ok().filter(|id| *id <= ID_MAX);
    found.ok_or_else(|| {
        ContainerError::create(format!("uids and gids must be in range 0-{ID_MAX}, not {number}"))
    })
}

/// Why a container that must not be root is, or may be.
fn why_root(wanted: Option<i64>, who: Who<'_>) -> Option<String> {
    match (wanted, who) {
        (Some(_), Who::Id(0)) => Some("container's runAsUser breaks non-root policy".to_owned()),
        (None, Who::Id(0)) => {
            Some("container has runAsNonRoot and image will run as root".to_owned())
        }
        (_, Who::Id(_)) => None,
        (_, Who::Name(user)) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        )),
    }
}

fn whose(pod: &Pod, container: &Container) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    format!("(pod: \"{name}_{namespace}({uid})\", container: {})", container.name)
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    uid: u32,
    gid: u32,
}

/// A name must be in the database; a number need not.
fn lookup_user(who: Who<'_>, passwd: &str) -> Result<Found, ContainerError> {
    for line in passwd.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { continue };
        let (Some(uid), Some(gid)) = (id_of(uid), id_of(gid)) else { continue };
        if who == Who::Name(name) || who == Who::Id(uid) {
            return Ok(Found { name: name.to_owned(), uid, gid });
        }
    }
    match who {
        Who::Id(uid) => Ok(Found { name: String::new(), uid, gid: 0 }),
        Who::Name(name) => {
            let why = format!("unable to find user {name}: no matching entries in passwd file");
            Err(ContainerError::create(why))
        }
    }
}

fn lookup_group(who: Who<'_>, groups: &str) -> Result<u32, ContainerError> {
    let name = match who {
        Who::Id(gid) => return Ok(gid),
        Who::Name(name) => name,
    };
    for line in groups.lines() {
        let fields: Vec<_> = line.split(':').collect();
        if let [found, _, gid, ..] = fields[..]
            && found == name
            && let Some(gid) = id_of(gid)
        {
            return Ok(gid);
        }
    }
    let why = format!("unable to find group {name}: no matching entries in group file");
    Err(ContainerError::create(why))
}

/// An ID of a database.
fn id_of(field: &str) -> Option<u32> {
    field.parse().ok().filter(|id| *id <= ID_MAX)
}

fn memberships(user: &str, groups: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else { return None };
        members.split(',').any(|member| !user.is_empty() && member == user).then(|| id_of(gid))?
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
    let open = |flags| {
        let opened = || openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        despite_renames(|| opened().map_err(io::Error::from))
    };
    let probe = open(OFlags::PATH)?;
    if !fs::File::from(probe).metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = open(flags)?;
    let mut text = String::new();
    fs::File::from(file).take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
