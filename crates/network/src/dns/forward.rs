//! Names outside the cluster: what the host's own resolvers say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Transport;

/// How long a resolver may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The host's resolvers, as its `resolv.conf` names them at the moment: a VPN may change them.
#[derive(Debug, Clone)]
pub struct Upstreams {
    /// The file; usually `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Our own address, which must not be asked.
    pub except: Ipv4Addr,
    /// The port resolvers listen on: 53 everywhere but in tests.
    pub port: u16,
}

impl Upstreams {
    /// What `query` is answered by the first resolver that answers at all.
    pub(super) async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let text = tokio::fs::read_to_string(&self.resolv_conf).await.unwrap_or_default();
        for resolver in parse_resolv_conf(&text) {
            if resolver == IpAddr::V4(self.except) {
                continue;
            }
            let address = SocketAddr::new(resolver, self.port);
            let asked = async {
                match transport {
                    Transport::Udp => ask_by_udp(address, query).await,
                    Transport::Tcp => ask_by_tcp(address, query).await,
                }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(error)) => tracing::debug!(%address, %error, "resolver does not answer"),
                Err(_) => tracing::debug!(%address, "resolver takes too long"),
            }
        }
        None
    }
}

/// The addresses of a `resolv.conf`, in order.
#[must_use]
pub fn parse_resolv_conf(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words[..] {
            ["nameserver", address, ..] => address.parse().ok(),
            _ => None,
        })
        .collect()
}

async fn ask_by_udp(address: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    // A socket of its own for each query: its random port is what a forger would have to guess.
    let local: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(address).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length].starts_with(query.get(..2).unwrap_or_default()) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_tcp(address: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    write_framed(&mut stream, query).await?;
    read_framed(&mut stream).await
}

/// A message on a connection has its length before it.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await
}
