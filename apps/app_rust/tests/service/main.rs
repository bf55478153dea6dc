//! The service as a process: what its clients, its signals and its disk can do to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod disk;
mod replica;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use replica::{Client, Replica};

#[test]
fn a_page_counts_and_nothing_else_does() {
    let replica = Replica::start(&[("POD_NAME", "app-rust-0"), ("VERSION", "9.9.9")]);
    let page = replica.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("id=\"visits\">1</p>") && page.body.contains("9.9.9"), "{page:?}");
    assert_eq!(replica.get("/visits").body, r#"{"replica":"app-rust-0","visits":1}"#);
    assert_eq!(
        replica.get("/visits/all").body,
        r#"{"replicas":[{"replica":"app-rust-0","visits":1}],"total":1}"#
    );
    let mut client = replica.client();
    assert_eq!(client.ask("HEAD", "/").unwrap().status, 200);
    assert_eq!(replica.get("/favicon.ico").status, 404);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(replica.get(path).status, 200, "{path}");
    }
    let metrics = replica.get("/metrics").body;
    assert!(metrics.contains("\nvisits 1\n") && metrics.contains("request_seconds_count"));
    assert_eq!(replica.visits(), "1\n");
}

#[test]
fn logs_are_lines_of_json() {
    let mut replica = Replica::start(&[]);
    replica.signal(Signal::SIGTERM);
    let (code, log) = replica.wait();
    assert_eq!(code, Some(0), "{log}");
    let messages: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].to_string())
        .collect();
    assert_eq!(messages, ["\"listening\"", "\"stopping\"", "\"stopped\""]);
}

#[test]
fn wrong_settings_are_named() {
    for (name, value) in [("LISTEN", "here"), ("REPLICAS", "-1"), ("GRACE_SECONDS", "soon")] {
        let (code, log) = Replica::spawn(&[(name, value)]).wait();
        assert_eq!(code, Some(1));
        assert!(log.contains(name) && log.contains(value), "{log}");
    }
}

/// Connections that wait for their first or next request are closed, requests in flight answered.
#[test]
fn sigterm_waits_for_what_is_in_flight_and_for_nothing_else() {
    let mut replica = Replica::start(&[("GRACE_SECONDS", "60")]);
    let fresh = TcpStream::connect(replica.address()).unwrap();
    let mut kept = replica.client();
    assert_eq!(kept.ask("GET", "/").unwrap().status, 200);
    replica.signal(Signal::SIGTERM);
    let (code, log) = replica.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(kept.ask("GET", "/").is_none(), "a kept connection is closed");
    drop(fresh);
    assert!(!log.contains("outlived"), "{log}");
}

#[test]
fn a_request_that_never_ends_is_left_after_the_grace_period() {
    let mut replica = Replica::start(&[("GRACE_SECONDS", "1")]);
    let mut half = TcpStream::connect(replica.address()).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    // One answered request later the half one has been read as well.
    replica.get("/healthz");
    replica.signal(Signal::SIGTERM);
    let (code, log) = replica.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn what_is_no_request_is_refused() {
    let replica = Replica::start(&[]);
    for bytes in [&b"\x16\x03\x01 hello\r\n\r\n"[..], b"GET\r\n\r\n", &[b'A'; 1 << 20]] {
        let mut stream = TcpStream::connect(replica.address()).unwrap();
        // The other side may have closed already.
        drop(stream.write_all(bytes));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    assert!(replica.get("/visits").body.contains("\"visits\":0"), "not one was a visit");
}

/// Kill it at moments that differ from round to round, under load: every answered visit is in the
/// file, and no more visits than were asked for.
#[test]
fn a_kill_loses_no_answered_visit_and_invents_none() {
    let mut replica = Replica::start(&[]);
    let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..25 {
        let stop = AtomicBool::new(false);
        let clients: Vec<Client> = (0..8).map(|_| replica.client()).collect();
        std::thread::scope(|scope| {
            for client in clients {
                let (stop, asked, answered) = (&stop, &asked, &answered);
                scope.spawn(move || {
                    let mut client = Some(client);
                    while let Some(open) = client.as_mut().filter(|_| !stop.load(Ordering::Acquire))
                    {
                        asked.fetch_add(1, Ordering::AcqRel);
                        match open.ask("GET", "/") {
                            Some(page) if page.status == 200 => {
                                answered.fetch_add(1, Ordering::AcqRel);
                            }
                            _ => client = None,
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_micros(500 + round * 1_371 % 20_000));
            replica.signal(Signal::SIGKILL);
            stop.store(true, Ordering::Release);
        });
        replica.restart();
        let counted = Client::count(&replica.get("/visits").body);
        let (asked, answered) = (asked.load(Ordering::Acquire), answered.load(Ordering::Acquire));
        assert!(answered <= counted, "{answered} answered, {counted} counted");
        assert!(counted <= asked, "{asked} asked for, {counted} counted");
    }
    assert!(answered.load(Ordering::Acquire) > 0);
}
