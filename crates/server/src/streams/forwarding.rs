//! What both kinds of port-forward share: the pod, connections to it, and the bytes both ways.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::streams::node::{Duplex, NodeStreams};
use crate::streams::websocket::{Gone, Message};

/// Bytes from a pod in a frame.
const CHUNK: usize = 32 << 10;
/// Frames that wait for the client; pods that say more wait too.
pub(crate) const QUEUE: usize = 8;
/// Pieces, of 32 KiB as clients send them, that wait for one pod. When there are more, everything
/// the client sends waits: streams have no flow control of their own.
pub(crate) const INPUT: usize = 64;

/// The pod.
pub(crate) struct Target {
    pub(crate) node: Arc<dyn NodeStreams>,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl Target {
    /// A connection to `port`.
    pub(crate) async fn connect(&self, port: u16) -> Result<Box<dyn Duplex>, Status> {
        self.node.connect(&self.namespace, &self.pod, port).await
    }

    /// Why there is none, as clients are told.
    pub(crate) fn failure(&self, port: u16, status: &Status) -> String {
        let (pod, uid) = (&self.pod, &self.uid);
        format!("error forwarding port {port} to pod {pod}, uid {uid}: {status}")
    }
}

/// What the pod says. A connection that breaks has ended: it does not concern the others, and an
/// error would make the client close them all.
pub(crate) async fn from_pod(
    mut reader: ReadHalf<Box<dyn Duplex>>,
    wrap: impl Fn(&[u8]) -> Message,
    frames: &mpsc::Sender<Message>,
) -> Result<(), Gone> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(read) => {
                frames.send(wrap(&buffer[..read])).await.map_err(|_| Gone)?;
            }
            Err(error) => {
                tracing::debug!(%error, "read from a pod");
                return Ok(());
            }
        }
    }
}

/// What the client says, to its end; the pod may go on after that.
pub(crate) async fn to_pod(
    mut writer: WriteHalf<Box<dyn Duplex>>,
    mut input: mpsc::Receiver<Bytes>,
) -> Infallible {
    let writing = async {
        while let Some(data) = input.recv().await {
            writer.write_all(&data).await?;
            writer.flush().await?;
        }
        writer.shutdown().await
    };
    if let Err(error) = writing.await {
        tracing::debug!(%error, "write to a pod");
    }
    drop(input);
    pending().await
}
