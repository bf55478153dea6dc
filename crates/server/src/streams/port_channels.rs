//! `pods/portforward` over a plain WebSocket: for each port a channel for bytes and one for errors,
//! each of which begins with the port, 16 bits little-endian. Clients in Python and JavaScript and
//! kube-rs speak it.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Status;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::io;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::pipeline::parse::Query;
use crate::streams::forwarding::{INPUT, QUEUE, Target, from_pod, to_pod};
use crate::streams::websocket::{Framing, Gone, Message, Socket, goodbye, send_all};

/// The protocols, by the names that clients ask for; the last is for those that name none.
pub(crate) const PROTOCOLS: [&str; 3] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];
/// A channel's number is a byte, and each port has two.
const PORTS_MAX: usize = 100;

/// The ports in the query: `ports=80,81`, or one `ports` each.
///
/// # Errors
/// 400 when there is none, one that is no port, or too many.
pub(crate) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts = query.all("ports").chain(query.all("port")).flat_map(|all| all.split(','));
    let port = |text: &str| match text.trim().parse::<u16>() {
        Ok(0) => Err(Status::bad_request(format!("port {text:?} must be > 0"))),
        Ok(port) => Ok(port),
        Err(_) => Err(Status::bad_request(format!("unable to parse {text:?} as a port"))),
    };
    let ports: Vec<u16> = texts.map(port).collect::<Result<_, _>>()?;
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"ports\" is required")),
        1..=PORTS_MAX => Ok(ports),
        _ => {
            Err(Status::bad_request(format!("at most {PORTS_MAX} ports may be forwarded at once")))
        }
    }
}

/// The channel for the bytes of the port with this index; the one for errors is the next.
fn channel(index: usize) -> u8 {
    u8::try_from(2 * index).unwrap_or(u8::MAX)
}

/// Forwards `ports` until each has ended, or the client has gone.
pub(crate) async fn run(socket: Socket, framing: Framing, target: Arc<Target>, ports: Vec<u16>) {
    let (sink, source) = socket.split();
    let (frames, queue) = mpsc::channel(QUEUE);
    let (mut inputs, mut running) = (Vec::new(), JoinSet::new());
    for (index, port) in ports.into_iter().enumerate() {
        let (input, taken) = mpsc::channel(INPUT);
        inputs.push(Some(input));
        let one = One { framing, target: Arc::clone(&target), port, channel: channel(index) };
        running.spawn(one.forward(taken, frames.clone()));
    }
    let ending = async move {
        while running.join_next().await.is_some() {}
        // Nobody is left to hear why, when the client has gone.
        drop(frames.send(goodbye()).await);
    };
    tokio::select! {
        () = listen(source, framing, inputs) => {}
        sent = async { tokio::join!(send_all(sink, queue), ending).0 } => if let Err(gone) = sent {
            tracing::debug!(%gone, "port-forward");
        },
    }
}

/// Hands what the client says to whom it is for, until the client has gone. Waits while one does not
/// take its input: the channels share a connection.
async fn listen(
    mut source: SplitStream<Socket>,
    framing: Framing,
    mut inputs: Vec<Option<mpsc::Sender<Bytes>>>,
) {
    while let Some(Ok(message)) = source.next().await {
        let Some(mut data) = framing.read(message) else { continue };
        let Some(channel) = (!data.is_empty()).then(|| data.split_to(1)) else { continue };
        let channel = usize::from(channel.first().copied().unwrap_or(u8::MAX));
        if channel % 2 == 1 || data.is_empty() {
            continue;
        }
        if let Some(place) = inputs.get_mut(channel / 2)
            && let Some(input) = place
            && input.send(data).await.is_err()
        {
            *place = None;
        }
    }
}

/// One port.
struct One {
    framing: Framing,
    target: Arc<Target>,
    port: u16,
    channel: u8,
}

impl One {
    async fn forward(self, input: mpsc::Receiver<Bytes>, frames: mpsc::Sender<Message>) {
        if let Err(gone) = self.carry(input, &frames).await {
            tracing::debug!(%gone, port = self.port, "port-forward");
        }
    }

    async fn carry(
        &self,
        input: mpsc::Receiver<Bytes>,
        frames: &mpsc::Sender<Message>,
    ) -> Result<(), Gone> {
        let say = async |channel, data: &[u8]| {
            frames.send(self.framing.message(channel, data)).await.map_err(|_| Gone)
        };
        for channel in [self.channel, self.channel + 1] {
            say(channel, &self.port.to_le_bytes()).await?;
        }
        let (reader, writer) = match self.target.connect(self.port).await {
            Ok(connection) => io::split(connection),
            Err(status) => {
                let why = self.target.failure(self.port, &status);
                return say(self.channel + 1, why.as_bytes()).await;
            }
        };
        let wrap = |data: &[u8]| self.framing.message(self.channel, data);
        tokio::select! {
            ended = from_pod(reader, wrap, frames) => ended,
            never = to_pod(writer, input) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_or_repeated() {
        let ports = |query: &str| ports(&Query::parse(query)).map_err(|status| status.message);
        assert_eq!(ports("ports=80,81&ports=82"), Ok(vec![80, 81, 82]));
        assert_eq!(ports("ports=0").unwrap_err(), "port \"0\" must be > 0");
        assert_eq!(ports("ports=x").unwrap_err(), "unable to parse \"x\" as a port");
        assert!(ports("").is_err());
        assert!(ports(&format!("ports={}", ["80"; 101].join(","))).is_err());
    }
}
