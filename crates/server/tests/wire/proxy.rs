//! Requests that are handed on to a pod, as a client has them on the wire.

use crate::support::{World, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A pod's server, which answers every connection with `answer` and tells what it was sent.
async fn server(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            heard.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    });
    (port, requests)
}

/// A Service before the pod `web`, whose port is called `http`.
async fn service(world: &World, port: u16) {
    let ports = json!([{"name": "http", "port": 80}]);
    let body = json!({"metadata": {"name": "site"}, "spec": {"ports": ports}});
    world.create("services", body).await;
    let address =
        |ip: &str, pod: &str| json!({"ip": ip, "targetRef": {"kind": "Pod", "name": pod}});
    // Nobody is sent to an address that is not the pod's.
    let addresses = [address("10.244.0.9", "two"), address("10.244.0.1", "web")];
    let subsets = json!([{"addresses": addresses, "ports": [{"name": "http", "port": port}]}]);
    world.create("endpoints", json!({"metadata": {"name": "site"}, "subsets": subsets})).await;
}

async fn world() -> World {
    let world = World::new().await;
    world.status("web", json!({"phase": "Running", "podIP": "10.244.0.1"})).await;
    world
}

fn message(body: &str) -> String {
    let status: Value = serde_json::from_str(body).unwrap();
    status["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_reaches_the_pod_without_what_the_client_proved_itself_with() {
    let world = world().await;
    let answer = "HTTP/1.1 418 Teapot\r\nX-Own: yes\r\nAccess-Control-Allow-Origin: *\r\n\
                  Content-Length: 2\r\n\r\nhi";
    let (port, mut requests) = server(answer).await;
    service(&world, port).await;
    let pod = format!("pods/web:{port}");
    for target in [&*pod, "services/site:80", "services/http:site:http"] {
        let path = format!("/api/v1/namespaces/default/{target}/proxy/a%2Fb/?c=d");
        for method in ["GET", "DELETE", "PUT", "POST", "PATCH", "OPTIONS"] {
            let headers =
                [("Authorization", "Basic none"), ("X-Mine", "kept"), ("Content-Length", "0")];
            let (head, body) = world.exchange(&format!("{method} {path}"), &headers).await;
            assert!(head.starts_with("HTTP/1.1 418 ") && head.contains("x-own: yes"), "{head}");
            assert!(!head.contains("access-control"), "{head}");
            assert_eq!(body, "hi");
            let heard = within(requests.recv()).await.unwrap();
            assert!(heard.starts_with(&format!("{method} /a%2Fb/?c=d HTTP/1.1\r\n")), "{heard}");
            assert!(heard.contains("x-mine: kept") && !heard.contains("authorization"), "{heard}");
        }
    }
    // It is about the pod's server, not about the pod.
    assert!(world.exists("pods", "web"));
}

#[tokio::test]
async fn redirects_lead_back_and_the_root_has_a_slash() {
    let world = world().await;
    let answer = "HTTP/1.1 302 Found\r\nLocation: /login?x\r\nContent-Length: 0\r\n\r\n";
    let (port, _requests) = server(answer).await;
    let proxy = format!("/api/v1/namespaces/default/pods/web:{port}/proxy");
    let (head, _) = world.exchange(&format!("GET {proxy}/a"), &[]).await;
    assert!(head.contains(&format!("location: {proxy}/login?x\r\n")), "{head}");
    let (head, _) = world.exchange(&format!("GET {proxy}?q"), &[]).await;
    assert!(head.starts_with("HTTP/1.1 301 "), "{head}");
    assert!(head.contains(&format!("location: {proxy}/?q\r\n")), "{head}");
}

#[tokio::test]
async fn links_of_pages_lead_back_too() {
    let world = world().await;
    let page = |kind: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 20\r\nConnection: close\
             \r\n\r\n<a href=\"/me\">it</a>"
        )
    };
    for (kind, changes) in [("text/html; charset=utf-8", true), ("text/plain", false)] {
        let (port, mut requests) = server(Box::leak(page(kind).into_boxed_str())).await;
        let proxy = format!("/api/v1/namespaces/default/pods/web:{port}/proxy");
        let headers = [("Accept", "text/html"), ("Accept-Encoding", "gzip")];
        let (head, body) = world.exchange(&format!("GET {proxy}/"), &headers).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let here = if changes { &*proxy } else { "" };
        assert!(body.contains(&format!("<a href=\"{here}/me\">it</a>")), "{head}{body}");
        assert!(!within(requests.recv()).await.unwrap().contains("accept-encoding"));
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_what_has_no_end() {
    let world = world().await;
    let (port, _requests) = server("HTTP/1.1 200 OK\r\n\r\nhi").await;
    let request = format!("GET /api/v1/namespaces/default/pods/web:{port}/proxy/");
    let (mut stream, head) = world.send("admin", "system:masters", &request, &[]).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut chunk = [0; 7];
    within(stream.read_exact(&mut chunk)).await.unwrap();
    assert_eq!(&chunk, b"2\r\nhi\r\n");
    world.stop().await;
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "0\r\n\r\n", "the client is told that this was all");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let world = world().await;
    service(&world, 1).await;
    for (target, code, expected) in [
        ("pods/none", 404, "pods \"none\" not found"),
        ("pods/a:b:c", 400, "invalid pod request \"a:b:c\""),
        ("pods/waiting", 400, "pod waiting does not have a host assigned"),
        ("services/none", 404, "endpoints \"none\" not found"),
        ("services/site:81", 503, "no service port 81 found for service \"site\""),
        ("services/site", 503, "no endpoints available for service \"site\""),
    ] {
        let path = format!("/api/v1/namespaces/default/{target}/proxy/");
        let (head, body) = world.exchange(&format!("GET {path}"), &[]).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{target}: {head}");
        assert_eq!(message(&body), expected);
    }
    let (head, _) = world.exchange("GET /api/v1/nodes/node/proxy/healthz", &[]).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}
