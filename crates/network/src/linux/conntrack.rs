//! Flows the kernel remembers: UDP clients of a Service must not stay with a backend that is gone.

use std::io;
use std::net::Ipv4Addr;

use super::elements::Lost;
use super::netlink::{Message, Socket, attributes};
use crate::services::Protocol;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FIXED: [u8; 4] = [2, 0, 0, 0]; // IPv4

/// One direction of a flow.
#[derive(Debug, PartialEq, Eq)]
struct Tuple {
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    protocol: u8,
}

/// Makes the kernel forget the UDP flows of each frontend to the backend it lost.
pub fn forget(socket: &mut Socket, lost: &[Lost]) -> io::Result<()> {
    if lost.iter().all(|lost| lost.frontend.protocol != Protocol::Udp) {
        return Ok(());
    }
    for reply in socket.dump(Message::new(GET, 0, &FIXED))? {
        let attributes = reply.attributes(FIXED.len());
        let part =
            |kind| attributes.iter().find(|(found, _)| *found == kind).map(|(_, part)| *part);
        let (Some(original), Some(answer)) = (part(ORIGINAL), part(REPLY)) else { continue };
        let (Some(sent), Some(answered)) = (tuple(original), tuple(answer)) else { continue };
        if lost.iter().any(|lost| leads(&sent, &answered, lost)) {
            let mut message = Message::new(DELETE, 0, &FIXED);
            message.nested(ORIGINAL, |flow| {
                flow.raw(original);
            });
            match socket.request(vec![message]) {
                // It may have ended by itself.
                Err(refused) if refused.source.raw_os_error() != Some(libc::ENOENT) => {
                    return Err(refused.source);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn leads(sent: &Tuple, answered: &Tuple, Lost { frontend, backend, .. }: &Lost) -> bool {
    sent.protocol == Protocol::Udp.number()
        && frontend.protocol == Protocol::Udp
        && sent.destination == (frontend.ip, frontend.port)
        && answered.source == (backend.ip, backend.port)
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let parts = attributes(bytes);
    let part = |kind| parts.iter().find(|(found, _)| *found == kind).map(|(_, part)| *part);
    let (addresses, transport) = (attributes(part(1)?), attributes(part(2)?));
    let address = |kind| {
        let (_, bytes) = addresses.iter().find(|(found, _)| *found == kind)?;
        bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
    };
    let port = |kind| {
        let (_, bytes) = transport.iter().find(|(found, _)| *found == kind)?;
        bytes.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
    };
    let (_, protocol) = transport.iter().find(|(found, _)| *found == 1)?;
    Some(Tuple {
        source: (address(1)?, port(2)?),
        destination: (address(2)?, port(3)?),
        protocol: *protocol.first()?,
    })
}
