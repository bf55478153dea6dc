//! etcd doing the store's work: the same writers, through its own protocol (gRPC, by hand: one
//! message each way).

use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::Failure;
use crate::writers::{self, OBJECT_BYTES, Writer, noise};

/// Measures the etcd at `address`, whose data is on the disk of `directory`, each writer with a connection of its own.
pub async fn run(directory: &Path, address: &str) -> Result<(), Failure> {
    for count in writers::WRITERS {
        let mut writers = Vec::new();
        for number in 0..count {
            writers.push(InEtcd { sender: connect(address).await?, number });
        }
        writers::measure("etcd: durable write", directory, writers).await?;
    }
    Ok(())
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

struct InEtcd {
    sender: SendRequest<Full<Bytes>>,
    number: usize,
}

impl Writer for InEtcd {
    async fn write(&mut self, number: u64) -> Result<(), Failure> {
        let key = format!("/bench/writer-{}-{}", self.number, number % 50);
        let request = Request::post("http://etcd/etcdserverpb.KV/Put")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(put(&key, &noise(number, OBJECT_BYTES))))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        // An error may come without a body; its status is among the headers then.
        let early = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await?;
        let status = early.or_else(|| body.trailers()?.get("grpc-status").cloned());
        match status {
            Some(status) if status == "0" => Ok(()),
            other => Err(format!("etcd refused a write: {other:?}").into()),
        }
    }
}

/// A `PutRequest` (key is field 1, value field 2) in gRPC's frame.
fn put(key: &str, value: &str) -> Bytes {
    let mut message = BytesMut::new();
    for (field, bytes) in [(1, key), (2, value)] {
        message.put_u8(field << 3 | 2);
        let mut length = bytes.len();
        while length > 0x7f {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(bytes.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0); // not compressed
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}
