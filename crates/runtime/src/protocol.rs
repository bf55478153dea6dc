//! What engine and shim say to each other: frames of JSON, some with file descriptors.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{AttachSpec, Container, ContainerSpec, ExecSpec, RuntimeError, Sandbox, StartError};

/// One request; a connection carries one.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// What there is: [`Reply::Sandbox`].
    State,
    /// [`Reply::Sandbox`], then a [`Reply::Exited`] for each container that ends.
    Watch,
    /// [`Reply::Container`].
    Start(Box<ContainerSpec>),
    /// [`Reply::Done`].
    Signal { container_id: String, signal: i32 },
    /// [`Reply::Done`], when it is gone.
    Remove { container_id: String },
    /// [`Reply::Session`], then [`Reply::Exit`]; the command is killed when the client leaves.
    Exec { container_id: String, spec: ExecSpec },
    /// [`Reply::Session`], then [`Reply::Exit`].
    Attach { container_id: String, spec: AttachSpec },
}

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The state of everything.
    Sandbox(Sandbox),
    /// A container that was started.
    Container(Container),
    /// A container that ended.
    Exited(Container),
    /// It is done.
    Done,
    /// Streams; the frame carries a descriptor for each that is true, in this order.
    Session { stdin: bool, stdout: bool, stderr: bool, terminal: bool },
    /// The command, or the attached container, ended with this code.
    Exit(i32),
    /// It failed.
    Error(Failure),
}

/// A [`RuntimeError`] that crosses the socket.
#[derive(Debug, Serialize, Deserialize)]
pub enum Failure {
    /// As [`RuntimeError::Start`].
    Start(StartError),
    /// As [`RuntimeError::ContainerNotFound`].
    NotFound(String),
    /// As [`RuntimeError::ContainerExists`].
    Exists(String),
    /// As [`RuntimeError::ContainerNotRunning`].
    NotRunning(String),
    /// As [`RuntimeError::Timeout`].
    Timeout,
    /// As [`RuntimeError::InvalidSpec`].
    InvalidSpec(String),
    /// As [`RuntimeError::Shim`].
    Step { operation: String, message: String },
}

impl Failure {
    /// A step that failed in the shim.
    pub fn step(operation: &str, error: impl std::fmt::Display) -> Self {
        Self::Step { operation: operation.to_owned(), message: error.to_string() }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Start(error) => Self::Start(error),
            Failure::NotFound(id) => Self::ContainerNotFound(id),
            Failure::Exists(id) => Self::ContainerExists(id),
            Failure::NotRunning(id) => Self::ContainerNotRunning(id),
            Failure::Timeout => Self::Timeout,
            Failure::InvalidSpec(message) => Self::InvalidSpec(message),
            Failure::Step { operation, message } => Self::Shim { operation, message },
        }
    }
}

/// Most bytes of a frame: a pod's specification is at most a few megabytes.
const LIMIT: usize = 16 << 20;

/// A frame: its length in four bytes, then JSON.
pub fn encode<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Takes the first whole frame out of `buffer`, if there is one.
pub fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> serde_json::Result<Option<T>> {
    use serde::de::Error;
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let end = 4 + u32::from_le_bytes(*head) as usize;
    if end > LIMIT {
        return Err(serde_json::Error::custom("frame too long"));
    }
    let Some(body) = buffer.get(4..end) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..end);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = encode(&"one").unwrap();
        bytes.extend(encode(&"two").unwrap());
        let (mut buffer, mut seen) = (Vec::new(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            seen.extend(decode::<String>(&mut buffer).unwrap());
        }
        assert_eq!(seen, ["one", "two"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_endless_frame_is_refused_at_its_head() {
        assert!(decode::<String>(&mut vec![255, 255, 255, 255]).is_err());
    }
}
