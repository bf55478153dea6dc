//! The DNS server: a task that answers from the newest zone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::Name;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::forward::{Upstreams, read_framed, write_framed};
use super::{Answer, Transport, Zone, answer, encode, failure};

/// How long a client may keep a connection without asking.
const IDLE: Duration = Duration::from_secs(10);
/// Queries being forwarded and connections being served; the rest wait.
const AT_ONCE: usize = 512;
/// A pause after the system ran out of something (descriptors, say) that others must free.
const BREATH: Duration = Duration::from_millis(100);

struct Server {
    zone: Arc<ArcSwap<Zone>>,
    upstreams: Upstreams,
    slots: Arc<Semaphore>,
}

/// Serves `zone`, whatever it is at the moment, on sockets opened inside the node
/// ([`crate::Kernel::bind_udp`], [`crate::Kernel::listen_tcp`]). Runs until the future is dropped;
/// needs a Tokio runtime with I/O and time.
///
/// # Errors
/// When a socket cannot be handed to the runtime.
pub async fn serve(
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    zone: Arc<ArcSwap<Zone>>,
    upstreams: Upstreams,
) -> io::Result<()> {
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let udp = Arc::new(UdpSocket::from_std(udp)?);
    let tcp = TcpListener::from_std(tcp)?;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let server = Arc::new(Server { zone, upstreams, slots });
    // A set ends its tasks when it is dropped, so nothing outlives this future.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&server).serve_udp(udp));
    tasks.spawn(server.serve_tcp(tcp));
    while tasks.join_next().await.is_some() {}
    Ok(())
}

impl Server {
    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut tasks = tokio::task::JoinSet::new();
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            while tasks.try_join_next().is_some() {}
            // An error here is an ICMP message about an earlier answer, or a passing shortage.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            let query = &buffer[..length];
            match answer(&self.zone.load(), query, Transport::Udp) {
                Answer::Reply(reply) => send(&socket, &reply, client).await,
                Answer::Ignore => {}
                outside => {
                    let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                    let (server, socket) = (Arc::clone(&self), Arc::clone(&socket));
                    let query = query.to_vec();
                    tasks.spawn(async move {
                        if let Some(reply) =
                            server.look_outside(outside, &query, Transport::Udp).await
                        {
                            send(&socket, &reply, client).await;
                        }
                        drop(slot);
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            let server = Arc::clone(&self);
            tasks.spawn(async move {
                if let Err(error) = server.serve_connection(stream).await {
                    tracing::debug!(%error, "a DNS connection ended");
                }
                drop(slot);
            });
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        while let Ok(query) = timeout(IDLE, read_framed(&mut stream)).await {
            let query = query?;
            let found = answer(&self.zone.load(), &query, Transport::Tcp);
            let reply = match found {
                Answer::Reply(reply) => Some(reply),
                Answer::Ignore => None,
                outside => self.look_outside(outside, &query, Transport::Tcp).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            write_framed(&mut stream, &reply).await?;
        }
        Ok(())
    }

    /// What the host's resolvers have to say about a name that is not, or not wholly, ours.
    async fn look_outside(
        &self,
        found: Answer,
        query: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let reply = match found {
            Answer::Forward => self.upstreams.ask(query, transport).await,
            Answer::Follow { reply, name } => self.follow(*reply, name, query, transport).await,
            Answer::Reply(reply) => Some(reply),
            Answer::Ignore => None,
        };
        reply.or_else(|| match failure(&Message::from_vec(query).ok()?) {
            Answer::Reply(reply) => Some(reply),
            _ => None,
        })
    }

    /// Completes a chain of aliases that leads outside.
    async fn follow(
        &self,
        mut reply: Message,
        name: Name,
        query: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let request = Message::from_vec(query).ok()?;
        let mut further = request.clone();
        let wanted = request.queries.first()?.query_type();
        further.queries = vec![Query::query(name, wanted)];
        // By TCP, whatever the client uses: an answer that was cut off could not be completed.
        let said = match self.upstreams.ask(&further.to_vec().ok()?, Transport::Tcp).await {
            Some(said) => said,
            None => self.upstreams.ask(&further.to_vec().ok()?, Transport::Udp).await?,
        };
        let said = Message::from_vec(&said).ok()?;
        reply.metadata.authoritative = false;
        // The code is about the end of the chain.
        reply.metadata.response_code = said.metadata.response_code;
        reply.add_answers(said.answers);
        match encode(&reply, &request, transport) {
            Answer::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%client, %error, "a DNS answer was not sent");
    }
}
