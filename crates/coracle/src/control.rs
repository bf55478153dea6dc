//! How the command line talks to the running engine: one JSON line asks, JSON lines answer, over a
//! Unix socket in the data directory that only its owner can open.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::supervisor;

/// How often an engine that works on an answer says so.
pub const STILL_AT_IT: Duration = Duration::from_secs(5);

/// An engine that says nothing for so long is stuck.
const SILENCE: Duration = Duration::from_secs(30);

/// What the command line asks of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Ask {
    /// Where the cluster stands.
    Status,
    /// What an object is waiting for.
    Why {
        /// `sts`, `pods`, `statefulset.apps`…
        resource: String,
        /// Namespace to look in.
        namespace: String,
        /// Name of the object.
        name: String,
    },
    /// What was decided on an object.
    History {
        /// `sts`, `pods`, `statefulset.apps`…
        resource: String,
        /// Namespace that it is or was in.
        namespace: String,
        /// Name of the object, which may be gone.
        name: String,
    },
    /// What a release of Helm is waiting for.
    WhyRelease {
        /// Namespace to look in; in all, when none is named.
        namespace: Option<String>,
        /// Name of the release; all that are not well, when none is named.
        name: Option<String>,
    },
    /// What everything waits for that is not where it should be.
    WhyAll {
        /// Of this kind (`sts`, `pods`…); of all, when none is named.
        resource: Option<String>,
        /// In this namespace; in all, when none is named.
        namespace: Option<String>,
    },
    /// Take images from a docker or OCI archive.
    ImageLoad {
        /// Absolute path of the archive.
        file: PathBuf,
    },
    /// Fetch an image from its registry.
    ImagePull {
        /// As in a pod: `redis:7`.
        reference: String,
    },
    /// Give an image a further name.
    ImageTag {
        /// As in a pod, or its ID.
        image: String,
        /// The further name.
        name: String,
    },
    /// Forget images that no pod runs.
    ImagePrune {
        /// Those too that have a name.
        all: bool,
    },
    /// Name the images.
    ImageList,
    /// Forget an image.
    ImageRemove {
        /// As in a pod, or its digest.
        reference: String,
    },
    /// Encrypt Secrets with a new key.
    SecretsRotate,
    /// Stop the engine.
    Stop {
        /// What becomes of the pods.
        pods: Pods,
    },
}

impl Ask {
    /// How long an engine in good health takes at most; `None` where that is the user's own business:
    /// an image may be as large and a pod's grace as long as it likes.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Status
            | Self::Why { .. }
            | Self::History { .. }
            | Self::WhyAll { .. }
            | Self::WhyRelease { .. }
            | Self::ImageTag { .. }
            | Self::ImageList => Some(Duration::from_secs(30)),
            // Many files may have to go, on a busy disk.
            Self::SecretsRotate | Self::ImageRemove { .. } | Self::ImagePrune { .. } => {
                Some(Duration::from_secs(300))
            }
            Self::ImageLoad { .. } | Self::ImagePull { .. } | Self::Stop { .. } => None,
        }
    }
}

/// What becomes of the pods when the engine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pods {
    /// They end in order, each within its grace.
    Stop,
    /// They are killed: nothing of them is kept.
    Kill,
    /// They go on, for the next engine.
    Keep,
}

/// One line of an answer; the last is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The engine is still at it; sent every [`STILL_AT_IT`].
    Working,
    /// Something happened; shown on a terminal or as a plain line.
    Progress(String),
    /// It worked; the value depends on what was asked.
    Done(serde_json::Value),
    /// It did not; the sentence says what to do.
    Failed(String),
}

/// Why an ask brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no cluster is running in {} (start it with `coracle up`)", .0.display())]
    NotRunning(PathBuf),
    /// The engine has ended, and its supervisor is about to start it again.
    #[error(
        "the engine has ended and is being started again: see {} (`coracle down` gives up)",
        .0.display()
    )]
    Restarting(PathBuf),
    /// Others may not talk to the engine.
    #[error("{} belongs to another user: run this command as that user, or with sudo", .0.display())]
    NotAllowed(PathBuf),
    /// The engine went away in the middle.
    #[error("the engine stopped answering: see {}", .log.display())]
    Broken {
        /// Where it writes what happened.
        log: PathBuf,
        /// What the socket said.
        source: Option<std::io::Error>,
    },
    /// It is there and does not answer.
    #[error(
        "the engine has not answered for {} s: see {}, and end it with `kill -9 {pid}` if it is stuck \
         (pods stay, and `coracle up` finds them again)",
        .patience.as_secs(), .log.display()
    )]
    Silent {
        /// How long it was waited for.
        patience: Duration,
        /// The engine's process.
        pid: i32,
        /// Where it writes what happened.
        log: PathBuf,
    },
    /// The engine says no.
    #[error("{0}")]
    Refused(String),
}

/// Ask the engine of the cluster in `data_dir`; `progress` gets its sentences as they come.
///
/// # Errors
/// When no engine answers, or it refuses.
pub fn ask(
    data_dir: &Path,
    question: &Ask,
    mut progress: impl FnMut(&str),
) -> Result<serde_json::Value, ControlError> {
    let broken = |source| ControlError::Broken { log: data_dir.join("engine.log"), source };
    let mut stream = connect(data_dir)?;
    let pid = peer(&stream);
    let silent = |patience| {
        let log = data_dir.join("engine.log");
        ControlError::Silent { patience, pid, log }
    };
    let begun = Instant::now();
    let ends = |patience| begun.checked_add(patience).map(|deadline| (deadline, patience));
    let deadline = question.patience().and_then(ends);
    let mut line = serde_json::to_vec(question).map_err(|error| broken(Some(error.into())))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| broken(Some(error)))?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => silent(SILENCE),
            _ => broken(Some(error)),
        })?;
        match serde_json::from_str(&line).map_err(|error| broken(Some(error.into())))? {
            Answer::Working => {
                if let Some((_, patience)) = deadline.filter(|(at, _)| Instant::now() > *at) {
                    return Err(silent(patience));
                }
            }
            Answer::Progress(text) => progress(&text),
            Answer::Done(value) => return Ok(value),
            Answer::Failed(text) => return Err(ControlError::Refused(text)),
        }
    }
    Err(broken(None))
}

fn connect(data_dir: &Path) -> Result<UnixStream, ControlError> {
    let missing = || match supervisor::is_alive(&data_dir.join("supervisor.lock")) {
        true => ControlError::Restarting(data_dir.join("engine.log")),
        false => ControlError::NotRunning(data_dir.to_path_buf()),
    };
    // A socket's path may have 108 bytes at most, a data directory's more: go through a descriptor.
    let directory = std::fs::File::open(data_dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => ControlError::NotAllowed(data_dir.to_path_buf()),
        _ => missing(),
    })?;
    let stream =
        UnixStream::connect(socket_through(&directory)).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                ControlError::NotAllowed(data_dir.to_path_buf())
            }
            _ => missing(),
        })?;
    let limited = stream.set_write_timeout(Some(Duration::from_secs(10)));
    limited.and_then(|()| stream.set_read_timeout(Some(SILENCE))).map_err(|error| {
        ControlError::Broken { log: data_dir.join("engine.log"), source: Some(error) }
    })?;
    Ok(stream)
}

/// The process at the other end; 0 when the kernel does not tell.
fn peer(stream: &UnixStream) -> i32 {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    getsockopt(stream, PeerCredentials).map_or(0, |peer| peer.pid())
}

/// The path of the engine's socket by way of the open data directory.
pub fn socket_through(directory: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/engine.sock", directory.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_the_wire() {
        let question = Ask::ImageLoad { file: "/tmp/a b.tar".into() };
        let text = serde_json::to_string(&question).unwrap();
        assert_eq!(text, r#"{"ask":"image-load","file":"/tmp/a b.tar"}"#);
        assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), question);
    }

    #[test]
    fn every_question_has_an_end_or_a_reason_for_none() {
        for quick in [Ask::Status, Ask::ImageList, Ask::ImageRemove { reference: "a".into() }] {
            assert!(quick.patience().is_some(), "{quick:?}");
        }
        assert_eq!(Ask::Stop { pods: Pods::Stop }.patience(), None, "a pod's grace is its own");
        assert!(SILENCE > 2 * STILL_AT_IT);
        let log = PathBuf::from("/x/engine.log");
        let silent = ControlError::Silent { patience: SILENCE, pid: 7, log };
        let text = silent.to_string();
        assert!(text.contains("kill -9 7") && text.contains("/x/engine.log"), "{text}");
    }

    #[test]
    fn without_an_engine_the_error_says_how_to_start_one() {
        let empty = tempfile::tempdir().unwrap();
        let error = ask(empty.path(), &Ask::Status, |_| ()).unwrap_err();
        assert!(error.to_string().contains("coracle up"), "{error}");
    }
}
