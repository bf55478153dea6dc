//! Cluster DNS: [`Zone`] holds the names, [`answer`] is pure, [`serve`] does the talking.

mod forward;
mod server;
pub(crate) mod zone;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

pub use forward::{Upstreams, parse_resolv_conf};
pub use server::serve;
pub use zone::Zone;

use zone::{Data, Entry};

/// Bytes of an answer by UDP that every client takes.
const PLAIN_SIZE: u16 = 512;
/// Bytes of an answer by UDP that get through everywhere; what we offer and the most we send.
const EDNS_SIZE: u16 = 1232;
/// Aliases followed before giving up: they may lead round in a circle.
const LONGEST_CHAIN: usize = 8;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram; long answers are cut off, and the client asks again by TCP.
    Udp,
    /// On a connection.
    Tcp,
}

/// What is to be done about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send these bytes.
    Reply(Vec<u8>),
    /// The name is not the cluster's: ask the host's resolvers, and send what they say.
    Forward,
    /// The name is an alias for one outside: ask the host's resolvers about that, and append what
    /// they say to the answer so far.
    Follow {
        /// The answer so far.
        reply: Box<Message>,
        /// The name to ask about.
        name: Name,
    },
    /// It is no query; say nothing.
    Ignore,
}

/// The answer to `query` (a DNS message) from `zone`.
#[must_use]
pub fn answer(zone: &Zone, query: &[u8], transport: Transport) -> Answer {
    let request = match Message::from_vec(query) {
        Ok(request) => request,
        Err(_) => return malformed(query),
    };
    if request.metadata.message_type != MessageType::Query {
        return Answer::Ignore; // answering answers could go on for ever
    }
    let mut reply = begin(&request);
    let [question] = &request.queries[..] else {
        return refuse(reply, ResponseCode::FormErr);
    };
    if request.metadata.op_code != OpCode::Query {
        return refuse(reply, ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(reply, ResponseCode::BADVERS);
    }
    let name = key(question.name());
    if !zone.is_ours(&name) {
        return Answer::Forward;
    }
    if question.query_class() != DNSClass::IN {
        return refuse(reply, ResponseCode::Refused);
    }
    reply.metadata.authoritative = true;
    let outside = resolve(zone, question.name(), question.query_type(), &mut reply);
    match outside {
        Some(name) => Answer::Follow { reply: Box::new(reply), name },
        None => finish(zone, reply, &request, transport),
    }
}

/// The bytes of `reply`, cut off if it is too long for the way it goes. `request` is the query it
/// answers.
fn encode(reply: &Message, request: &Message, transport: Transport) -> Answer {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_SIZE,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_SIZE, EDNS_SIZE),
    };
    match reply.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(limit) => Answer::Reply(bytes),
        // What does not fit a TCP message either is cut off too, which at least tells the client.
        Ok(_) => reply.truncate().to_vec().map_or(Answer::Ignore, Answer::Reply),
        Err(_) => failure(request),
    }
}

/// "We could not find out."
fn failure(request: &Message) -> Answer {
    refuse(begin(request), ResponseCode::ServFail)
}

fn begin(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_SIZE);
        reply.set_edns(edns);
    }
    reply
}

fn refuse(mut reply: Message, code: ResponseCode) -> Answer {
    reply.metadata.response_code = code;
    reply.to_vec().map_or(Answer::Ignore, Answer::Reply)
}

/// A message that cannot be read but has a header is told so.
fn malformed(query: &[u8]) -> Answer {
    const HEADER: usize = 12;
    const RESPONSE: u8 = 0x80;
    match query {
        [high, low, flags, ..] if query.len() >= HEADER && flags & RESPONSE == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            refuse(Message::response(id, OpCode::Query), ResponseCode::FormErr)
        }
        _ => Answer::Ignore,
    }
}

/// The key of a name in the zone.
fn key(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// Appends what the zone knows about `name`. Answers with the name outside the zone at which an
/// alias chain goes on.
fn resolve(zone: &Zone, name: &Name, wanted: RecordType, reply: &mut Message) -> Option<Name> {
    let mut name = name.clone();
    for _ in 0..LONGEST_CHAIN {
        let at = key(&name);
        if !zone.is_ours(&at) {
            return Some(name);
        }
        let Some(entry) = zone.entry(&at) else {
            reply.metadata.response_code = ResponseCode::NXDomain;
            return None;
        };
        let alias = entry.data.iter().find_map(|data| match data {
            Data::Alias(target) => name_of(target),
            _ => None,
        });
        let Some(target) = alias else {
            add_records(zone, &name, entry, wanted, reply);
            return None;
        };
        let record = RData::CNAME(CNAME(target.clone()));
        reply.add_answer(Record::from_rdata(name, entry.ttl, record));
        if wanted == RecordType::CNAME {
            return None;
        }
        name = target;
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    None
}

fn add_records(zone: &Zone, name: &Name, entry: &Entry, wanted: RecordType, reply: &mut Message) {
    // The ports of a name share what a single one has.
    let ports = entry.data.iter().filter(|data| matches!(data, Data::Port(..))).count();
    let weight = u16::try_from(100 / ports.max(1)).unwrap_or_default().max(1);
    let mut found: Vec<RData> = entry
        .data
        .iter()
        .filter_map(|data| record(data, weight))
        .filter(|data| wanted == RecordType::ANY || data.record_type() == wanted)
        .collect();
    if key(name) == zone.domain {
        let wanted = [RecordType::SOA, RecordType::NS].into_iter().filter(|kind| *kind == wanted);
        found.extend(wanted.filter_map(|kind| apex(zone, kind)));
    }
    if !found.is_empty() {
        // A client that takes the first address shall not always take the same one.
        let turn = usize::from(reply.metadata.id) % found.len();
        found.rotate_left(turn);
    }
    for data in &found {
        if let RData::SRV(port) = data {
            add_target(zone, &port.target, reply);
        }
    }
    reply.add_answers(
        found.into_iter().map(|data| Record::from_rdata(name.clone(), entry.ttl, data)),
    );
}

/// The address of a port's target comes along.
fn add_target(zone: &Zone, target: &Name, reply: &mut Message) {
    let Some(entry) = zone.entry(&key(target)) else { return };
    let addresses = entry.data.iter().filter(|data| matches!(data, Data::Address(_)));
    for data in addresses.filter_map(|data| record(data, 0)) {
        let record = Record::from_rdata(target.clone(), entry.ttl, data);
        if !reply.additionals.contains(&record) {
            reply.add_additional(record);
        }
    }
}

/// `weight` is that of a port.
fn record(data: &Data, weight: u16) -> Option<RData> {
    Some(match data {
        Data::Address(ip) => RData::A(A(*ip)),
        Data::Port(port, target) => RData::SRV(SRV::new(0, weight, *port, name_of(target)?)),
        Data::Alias(target) => RData::CNAME(CNAME(name_of(target)?)),
        Data::Pointer(name) => RData::PTR(PTR(name_of(name)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text.clone()])),
    })
}

/// A full name; `None` for what can be none (a label too long), which then is not published.
fn name_of(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn apex(zone: &Zone, kind: RecordType) -> Option<RData> {
    let server = name_of(&format!("ns.dns.{}", zone.domain))?;
    if kind == RecordType::NS {
        return Some(RData::NS(NS(server)));
    }
    let person = name_of(&format!("hostmaster.{}", zone.domain))?;
    // The last number is for how long "there is no such name" may be kept: not at all, for the
    // pod asked for may be there with the next breath.
    Some(RData::SOA(SOA::new(server, person, zone.serial, 7200, 1800, 86400, 0)))
}

/// Without an answer, the zone's SOA record says that this is for sure, and for how long.
fn finish(zone: &Zone, mut reply: Message, request: &Message, transport: Transport) -> Answer {
    if reply.answers.is_empty()
        && let (Some(domain), Some(soa)) = (name_of(&zone.domain), apex(zone, RecordType::SOA))
    {
        reply.add_authority(Record::from_rdata(domain, 0, soa));
    }
    encode(&reply, request, transport)
}

#[cfg(test)]
mod tests;
