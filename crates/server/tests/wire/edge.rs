//! The server as clients meet it: over TLS on loopback.

use crate::support::running::{start, status, text};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;

#[tokio::test]
async fn strangers_see_health_and_version_and_nothing_else() {
    let server = start().await;
    let health = server.ask(None, "GET", "/healthz", b"").await;
    assert_eq!(text(health).await, "ok");
    assert_eq!(server.ask(None, "GET", "/version", b"").await.status(), 200);
    for path in ["/api", "/openapi/v3", "/api/v1/namespaces/default/pods", "/nothing"] {
        assert_eq!(server.ask(None, "GET", path, b"").await.status(), 403, "{path}");
    }
    let stranger = server.pki.client("stranger", &[]).unwrap();
    let path = "/api/v1/namespaces/default/secrets";
    let (code, message) = status(server.ask(Some(stranger), "GET", path, b"").await).await;
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "secrets is forbidden: User \"stranger\" cannot list resource \"secrets\" in API group \
         \"\" in the namespace \"default\""
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_lets_nobody_in() {
    let (server, other) = (start().await, start().await);
    let stream = TcpStream::connect(server.address).await.unwrap();
    drop(stream);
    let foreign = other.admin();
    let attempt = tokio::spawn(async move {
        server.ask(Some(foreign), "GET", "/api/v1/pods", b"").await.status()
    });
    assert!(attempt.await.is_err(), "the handshake or the first request fails");
}

#[tokio::test]
async fn what_the_administrator_writes_a_watch_shows() {
    let server = start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let watch = server.ask(Some(server.admin()), "GET", &format!("{path}?watch=1"), b"").await;
    assert_eq!(watch.headers()["content-type"], "application/json");
    let body = json!({"metadata": {"name": "a"}, "data": {"x": "y"}, "bogus": 1}).to_string();
    let made = server.ask(Some(server.admin()), "POST", path, body.as_bytes()).await;
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["warning"], "299 - \"unknown field \\\"bogus\\\"\"");
    let mut watch = watch.into_body();
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("ADDED"), &json!("y")));
    assert!(frame.ends_with(b"\n"));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_right_code() {
    let server = start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let check = async |method: &'static str, path: &str, body: &[u8]| {
        status(server.ask(Some(server.admin()), method, path, body).await).await.0
    };
    assert_eq!(check("POST", path, b"{").await, 400);
    assert_eq!(check("POST", path, &vec![b' '; 4 * 1024 * 1024]).await, 413);
    assert_eq!(check("PATCH", &format!("{path}/a"), b"{}").await, 415);
    assert_eq!(check("GET", &format!("{path}/a"), b"").await, 404);
    assert_eq!(check("PUT", path, b"{}").await, 405);
    assert_eq!(check("GET", "/apis/nothing/v1/things", b"").await, 404);
    assert_eq!(check("GET", &format!("{path}?labelSelector=a+in+(b"), b"").await, 400);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches() {
    let server = start().await;
    let watch = server.ask(Some(server.admin()), "GET", "/api/v1/pods?watch=1", b"").await;
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    assert!(watch.into_body().collect().await.is_ok_and(|body| body.to_bytes().is_empty()));
}
