use std::str::FromStr as _;

use hickory_proto::op::Query;
use serde_json::json;

use super::*;
use crate::fixtures::{config, endpoint, pod, service, slice};

fn zone() -> Zone {
    let services = [
        service("web", json!({"clusterIP": "10.96.7.7", "ports": [{"name": "http", "port": 80}]})),
        service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})),
        service("soon", json!({"clusterIP": "None", "publishNotReadyAddresses": true})),
        service("away", json!({"type": "ExternalName", "externalName": "Example.com"})),
        service(
            "near",
            json!({"type": "ExternalName",
            "externalName": "web.default.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName",
            "externalName": "loop.default.svc.cluster.local"}),
        ),
        service("empty", json!({"clusterIP": "None"})),
    ];
    let named = |ip: &str, name: &str, ready: bool| {
        let mut endpoint = endpoint(ip, ready);
        endpoint["hostname"] = json!(name);
        endpoint
    };
    let slices = [
        slice(
            "web",
            json!([{"name": "http", "port": 8080}]),
            json!([endpoint("10.244.0.9", true)]),
        ),
        slice(
            "db",
            json!([{"name": "sql", "port": 5432}]),
            json!([
                named("10.244.0.5", "db-0", true),
                named("10.244.0.6", "db-1", true),
                named("10.244.0.7", "db-2", false),
                endpoint("10.244.0.8", true),
            ]),
        ),
        slice("soon", json!([]), json!([named("10.244.0.10", "soon-0", false)])),
    ];
    let pods = [pod("db-0", "10.244.0.5", "Running"), pod("job", "10.244.0.11", "Succeeded")];
    Zone::new(&services, &slices, &pods, &config(), 7)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(name: &str, kind: RecordType) -> Message {
    let query = query(name, kind).to_vec().unwrap();
    match answer(&zone(), &query, Transport::Udp) {
        Answer::Reply(reply) => Message::from_vec(&reply).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Code and answers, as `dig +short` would print them.
fn short(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let reply = ask(name, kind);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    let answers = reply.answers.iter().map(|record| record.data.to_string()).collect();
    (reply.metadata.response_code, answers)
}

fn addresses(name: &str) -> (ResponseCode, Vec<String>) {
    let (code, mut answers) = short(name, RecordType::A);
    answers.sort();
    (code, answers)
}

fn found(addresses: &[&str]) -> (ResponseCode, Vec<String>) {
    (ResponseCode::NoError, addresses.iter().map(|ip| (*ip).to_owned()).collect())
}

const NO_SUCH_NAME: (ResponseCode, Vec<String>) = (ResponseCode::NXDomain, Vec::new());

#[test]
fn services_have_addresses() {
    assert_eq!(addresses("web.default.svc.cluster.local."), found(&["10.96.7.7"]));
    assert_eq!(addresses("WEB.Default.svc.cluster.LOCAL."), found(&["10.96.7.7"]));
    assert_eq!(
        addresses("db.default.svc.cluster.local."),
        found(&["10.244.0.5", "10.244.0.6", "10.244.0.8"])
    );
    assert_eq!(addresses("empty.default.svc.cluster.local."), NO_SUCH_NAME, "no endpoints");
}

#[test]
fn pods_of_a_service_have_names() {
    assert_eq!(addresses("db-0.db.default.svc.cluster.local."), found(&["10.244.0.5"]));
    assert_eq!(addresses("db-2.db.default.svc.cluster.local."), NO_SUCH_NAME, "not ready");
    assert_eq!(addresses("10-244-0-8.db.default.svc.cluster.local."), found(&["10.244.0.8"]));
    assert_eq!(addresses("soon-0.soon.default.svc.cluster.local."), found(&["10.244.0.10"]));
    assert_eq!(addresses("10-244-0-5.default.pod.cluster.local."), found(&["10.244.0.5"]));
    assert_eq!(addresses("10-244-0-11.default.pod.cluster.local."), NO_SUCH_NAME, "it is done");
}

#[test]
fn ports_are_told_with_the_address_they_are_on() {
    let reply = ask("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV);
    assert_eq!(reply.answers[0].data.to_string(), "0 100 80 web.default.svc.cluster.local.");
    assert_eq!(reply.additionals[0].data.to_string(), "10.96.7.7");
    let (_, mut ports) = short("_sql._tcp.db.default.svc.cluster.local.", RecordType::SRV);
    ports.sort();
    assert_eq!(
        ports,
        [
            "0 33 5432 10-244-0-8.db.default.svc.cluster.local.",
            "0 33 5432 db-0.db.default.svc.cluster.local.",
            "0 33 5432 db-1.db.default.svc.cluster.local.",
        ]
    );
}

#[test]
fn addresses_have_names() {
    let pointer = |name| short(name, RecordType::PTR);
    assert_eq!(pointer("7.7.96.10.in-addr.arpa."), found(&["web.default.svc.cluster.local."]));
    let of_pod = found(&["db-0.db.default.svc.cluster.local."]);
    assert_eq!(pointer("5.0.244.10.in-addr.arpa."), of_pod);
    assert_eq!(pointer("1.1.244.10.in-addr.arpa."), NO_SUCH_NAME, "ours, but nobody's");
}

#[test]
fn no_such_name_differs_from_no_such_data() {
    for name in
        ["nope.default.svc.cluster.local.", "nope.cluster.local.", "web.nope.svc.cluster.local."]
    {
        assert_eq!(addresses(name), NO_SUCH_NAME, "{name}");
    }
    for (name, kind) in [
        ("web.default.svc.cluster.local.", RecordType::AAAA),
        ("web.default.svc.cluster.local.", RecordType::MX),
        ("default.svc.cluster.local.", RecordType::A),
        ("svc.cluster.local.", RecordType::A),
        ("cluster.local.", RecordType::A),
        ("_tcp.web.default.svc.cluster.local.", RecordType::A),
    ] {
        assert_eq!(short(name, kind), found(&[]), "{name}");
    }
}

#[test]
fn absence_may_not_be_kept() {
    for name in ["nope.db.default.svc.cluster.local.", "empty.default.svc.cluster.local."] {
        let reply = ask(name, RecordType::A);
        let [record] = &reply.authorities[..] else { panic!("{:?}", reply.authorities) };
        assert_eq!(record.ttl, 0);
        assert_eq!(
            record.data.to_string(),
            "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 0"
        );
    }
    assert!(ask("web.default.svc.cluster.local.", RecordType::A).authorities.is_empty());
}

#[test]
fn the_domain_tells_about_itself() {
    assert_eq!(short("cluster.local.", RecordType::NS), found(&["ns.dns.cluster.local."]));
    assert_eq!(addresses("ns.dns.cluster.local."), found(&["10.96.0.10"]));
    assert_eq!(short("dns-version.cluster.local.", RecordType::TXT), found(&["1.1.0"]));
    assert_eq!(short("cluster.local.", RecordType::SOA).1.len(), 1);
}

#[test]
fn aliases_are_followed() {
    let near = short("near.default.svc.cluster.local.", RecordType::A);
    assert_eq!(near, found(&["web.default.svc.cluster.local.", "10.96.7.7"]));
    let query = query("away.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let Answer::Follow { reply, name } = answer(&zone(), &query, Transport::Udp) else { panic!() };
    assert_eq!(name, Name::from_str("example.com.").unwrap());
    assert_eq!(reply.answers.len(), 1);
    let (code, _) = short("loop.default.svc.cluster.local.", RecordType::A);
    assert_eq!(code, ResponseCode::ServFail);
}

#[test]
fn other_names_are_forwarded() {
    for name in ["example.com.", "notcluster.local.", "1.2.0.192.in-addr.arpa.", "local.", "."] {
        let query = query(name, RecordType::A).to_vec().unwrap();
        assert_eq!(answer(&zone(), &query, Transport::Udp), Answer::Forward, "{name}");
    }
}

#[test]
fn clients_do_not_all_take_the_same_address() {
    let first = |id: u16| {
        let mut query = query("db.default.svc.cluster.local.", RecordType::A);
        query.metadata.id = id;
        let Answer::Reply(reply) = answer(&zone(), &query.to_vec().unwrap(), Transport::Udp) else {
            panic!()
        };
        Message::from_vec(&reply).unwrap().answers[0].data.to_string()
    };
    let firsts: std::collections::BTreeSet<String> = (0..3).map(first).collect();
    assert_eq!(firsts.len(), 3);
}

fn big_zone() -> Zone {
    let db = service("db", json!({"clusterIP": "None"}));
    let endpoints: Vec<_> =
        (2..100).map(|last| endpoint(&format!("10.244.0.{last}"), true)).collect();
    Zone::new([&db], [&slice("db", json!([]), json!(endpoints))], [], &config(), 1)
}

#[test]
fn long_answers_are_cut_off_by_udp_only() {
    let mut query = query("db.default.svc.cluster.local.", RecordType::A);
    let ask = |query: &Message, transport| {
        let Answer::Reply(reply) = answer(&big_zone(), &query.to_vec().unwrap(), transport) else {
            panic!()
        };
        (reply.len(), Message::from_vec(&reply).unwrap())
    };
    let (length, reply) = ask(&query, Transport::Udp);
    assert!(length <= 512 && reply.metadata.truncation && reply.answers.is_empty());
    let (_, reply) = ask(&query, Transport::Tcp);
    assert!(!reply.metadata.truncation && reply.answers.len() == 98);
    assert!(reply.edns.is_none(), "only who speaks EDNS is answered in it");

    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let (length, reply) = ask(&query, Transport::Udp);
    assert!(length <= 1232 && reply.metadata.truncation, "more gets lost on the way");
    assert_eq!(reply.edns.unwrap().max_payload(), 1232);
}

#[test]
fn odd_messages_get_what_they_deserve() {
    let code = |bytes: &[u8]| match answer(&zone(), bytes, Transport::Udp) {
        Answer::Reply(reply) => Some(Message::from_vec(&reply).unwrap().metadata.response_code),
        _ => None,
    };
    assert_eq!(code(b""), None);
    assert_eq!(code(b"short"), None);
    assert_eq!(code(&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63]), Some(ResponseCode::FormErr));
    let web = "web.default.svc.cluster.local.";

    let mut response = query(web, RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(code(&response.to_vec().unwrap()), None);

    let mut two = query(web, RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two.to_vec().unwrap()), Some(ResponseCode::FormErr));

    let mut notify = query(web, RecordType::A);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&notify.to_vec().unwrap()), Some(ResponseCode::NotImp));

    let mut chaos = query(web, RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos.to_vec().unwrap()), Some(ResponseCode::Refused));

    let mut edns = Edns::new();
    edns.set_version(1);
    let mut future = query(web, RecordType::A);
    future.set_edns(edns);
    // BADVERS; the library reads 16 as BADSIG, which has the same number.
    assert_eq!(code(&future.to_vec().unwrap()).map(u16::from), Some(16));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        drop(answer(&zone(), &bytes, Transport::Udp));
    }

    #[test]
    fn a_damaged_query_does_not_either(at in 0usize..40, byte: u8) {
        let mut bytes = query("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        drop(answer(&zone(), &bytes, Transport::Udp));
    }
}

#[test]
fn resolvers_are_read_as_the_system_reads_them() {
    let text = "# by hand\nsearch example.com\nnameserver 192.0.2.53\n  nameserver ::1 # v6\n\
                nameserver nonsense\noptions ndots:1\n";
    let expected: [std::net::IpAddr; 2] = ["192.0.2.53".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(parse_resolv_conf(text), expected);
}
