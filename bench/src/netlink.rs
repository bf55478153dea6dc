//! As much netlink as a link between two network namespaces needs.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const CREATE: u16 = 0x400;
const UP: u32 = 1;
const INET: u8 = 2;

/// A socket in the namespace where it was opened.
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        Ok(Self(socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?))
    }

    /// A veth here whose other end is in the network namespace of the process `pid`.
    pub fn add_veth(&self, here: &str, there: &str, pid: i32) -> io::Result<()> {
        let peer =
            [link(0, 0), attribute(3, &name(there)), attribute(19, &pid.to_ne_bytes())].concat();
        let data = attribute(2, &attribute(1, &peer));
        let info = attribute(18, &[attribute(1, b"veth"), data].concat());
        self.ask(NEW_LINK, CREATE, &[link(0, 0), attribute(3, &name(here)), info].concat())
    }

    /// Sets a link up.
    pub fn up(&self, index: u32) -> io::Result<()> {
        self.ask(NEW_LINK, 0, &link(index, UP))
    }

    /// Gives a link an address of its own, without a network around it.
    pub fn add_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        let head = [&[INET, 32, 0, 0][..], &index.to_ne_bytes()].concat();
        let octets = address.octets();
        self.ask(
            NEW_ADDRESS,
            CREATE,
            &[head, attribute(2, &octets), attribute(1, &octets)].concat(),
        )
    }

    /// A route to `to` (`None` is everything else) by a link.
    pub fn add_route(&self, index: u32, to: Option<Ipv4Addr>) -> io::Result<()> {
        let length = if to.is_some() { 32 } else { 0 };
        // Main table, set by hand, reachable directly, unicast.
        let head = [INET, length, 0, 0, 254, 4, 253, 1, 0, 0, 0, 0].to_vec();
        let to = to.map_or(Vec::new(), |to| attribute(1, &to.octets()));
        self.ask(NEW_ROUTE, CREATE, &[head, to, attribute(4, &index.to_ne_bytes())].concat())
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        const REQUEST_AND_ACK: u16 = 1 | 4;
        let mut message = Vec::with_capacity(256);
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST_AND_ACK).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 1024];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let code = answer.get(16..20).filter(|_| length >= 20).and_then(|b| b.try_into().ok());
        match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

/// An `ifinfomsg`.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let words = [0, index, flags, flags];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
