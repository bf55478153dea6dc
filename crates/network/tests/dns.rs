//! Cluster DNS as pods meet it: real sockets, UDP and TCP, and the host's resolvers behind it.

#![allow(clippy::unwrap_used, reason = "in tests a failed unwrap is the assertion")]

mod world;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_network::Kernel;
use coracle_network::dns::{Upstreams, Zone, serve};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use world::{Cluster, OUTSIDE, TIMEOUT, inside};

const SERVER: &str = "10.96.0.10:53";

struct Dns {
    cluster: Cluster,
    pod: coracle_network::PodLink,
    zone: Arc<ArcSwap<Zone>>,
}

/// A cluster with its DNS server running, and a pod to ask from.
fn start(resolv_conf: &str) -> Dns {
    let cluster = Cluster::up();
    let file: PathBuf = cluster.world.dir.path().join("resolv.conf");
    std::fs::write(&file, resolv_conf).unwrap();
    let udp = cluster.kernel.bind_udp(SERVER.parse().unwrap()).unwrap();
    let tcp = cluster.kernel.listen_tcp(SERVER.parse().unwrap()).unwrap();
    let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(&cluster.config)));
    let upstreams = Upstreams { resolv_conf: file, except: cluster.config.dns_ip(), port: 53 };
    let server = serve(udp, tcp, Arc::clone(&zone), upstreams);
    // The thread inherits this test's own host namespace, as the engine's threads have the host's.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server).unwrap();
    });
    let pod = cluster.client_pod("client", "10.244.0.9");
    Dns { cluster, pod, zone }
}

impl Dns {
    fn publish(&self, services: &[Service]) {
        self.zone.store(Arc::new(Zone::new(services, [], [], &self.cluster.config, 2)));
    }

    fn by_udp(&self, name: &str) -> Message {
        inside(&self.pod.netns, || ask_udp(name))
    }

    fn by_tcp(&self, name: &str) -> Message {
        inside(&self.pod.netns, || ask_tcp(name))
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn ask_udp(name: &str) -> Message {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.connect(SERVER).unwrap(); // answers from any other address are not taken
    socket.send(&query(name)).unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_tcp(name: &str) -> Message {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let query = query(name);
    stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

fn service(name: &str, spec: serde_json::Value) -> Service {
    let metadata = json!({"namespace": "default", "name": name});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// A resolver in the internet that knows one name.
fn resolver(netns: &Path) {
    let socket = inside(netns, || UdpSocket::bind(SocketAddr::from((OUTSIDE, 53))).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            if question.name().to_ascii() == "example.com." {
                let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 80)));
                reply.add_answer(Record::from_rdata(question.name().clone(), 60, address));
            } else {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            reply.add_query(question);
            socket.send_to(&reply.to_vec().unwrap(), client).unwrap();
        }
    });
}

#[test]
fn a_pod_finds_a_service_as_soon_as_it_is_there() {
    let dns = start("");
    let name = "web.default.svc.cluster.local.";
    assert_eq!(dns.by_udp(name).metadata.response_code, ResponseCode::NXDomain);
    dns.publish(&[service("web", json!({"clusterIP": "10.96.7.7"}))]);
    assert_eq!(addresses(&dns.by_udp(name)), ["10.96.7.7"]);
    assert_eq!(addresses(&dns.by_tcp(name)), ["10.96.7.7"]);
    assert_eq!(addresses(&ask_udp(name)), ["10.96.7.7"], "from the host too");
}

#[test]
fn names_outside_are_asked_of_the_hosts_resolvers() {
    let dns = start("nameserver 10.96.0.10\nnameserver 192.0.2.1\n");
    resolver(&dns.cluster.world.outside);
    assert_eq!(addresses(&dns.by_udp("example.com.")), ["192.0.2.80"]);
    assert_eq!(dns.by_udp("example.net.").metadata.response_code, ResponseCode::NXDomain);
    dns.publish(&[service("away", json!({"type": "ExternalName", "externalName": "example.com"}))]);
    let reply = dns.by_udp("away.default.svc.cluster.local.");
    assert_eq!(addresses(&reply), ["example.com.", "192.0.2.80"]);
}

#[test]
fn without_resolvers_the_failure_is_told_at_once() {
    let dns = start("search example.com\n");
    for reply in [dns.by_udp("example.com."), dns.by_tcp("example.com.")] {
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(reply.metadata.id, 4711);
    }
}
