//! exec, attach and logs as a client has them on the wire.

use crate::support::{World, hear, hear_some, send, upgrade, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

const V5: &str = "v5.channel.k8s.io";

#[tokio::test]
async fn a_command_reads_its_input_to_the_end_and_says_how_it_ended() {
    let world = World::new().await;
    let path = "web/exec?command=sh&command=-c&command=sort%3B+echo+oops+%3E%262%3B+exit+3\
                &stdin=true&stdout=true&stderr=true";
    let mut stream = world.open(path, V5).await.unwrap();
    send(&mut stream, b"\x00b\n").await;
    send(&mut stream, b"\x00a\n").await;
    send(&mut stream, b"\xff\x00").await;
    let said = hear(&mut stream).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "a\nb\n");
    assert_eq!(String::from_utf8_lossy(&said.stderr), "oops\n");
    let status = said.status();
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("Failure"), &json!("NonZeroExitCode"))
    );
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    assert_eq!(said.close, Some(1000));
}

#[tokio::test]
async fn success_is_said_in_each_protocol_s_way() {
    let world = World::new().await;
    let path = "web/exec?command=echo&command=hi&stdout=1";
    for (protocol, expected) in [
        (V5, r#"{"metadata":{},"status":"Success"}"#),
        ("v4.channel.k8s.io", r#"{"metadata":{},"status":"Success"}"#),
        ("channel.k8s.io", ""),
    ] {
        let said = hear(&mut world.open(path, protocol).await.unwrap()).await;
        assert_eq!(said.stdout, b"hi\n", "{protocol}");
        assert_eq!(String::from_utf8_lossy(&said.error), expected, "{protocol}");
        assert_eq!(said.close, Some(1000), "{protocol}");
    }
}

#[tokio::test]
async fn much_goes_both_ways_in_messages_of_bounded_length() {
    const LENGTH: usize = 8 << 20;
    let world = World::new().await;
    let stream = world.open("web/exec?command=cat&stdin=true&stdout=true", V5).await.unwrap();
    let (mut sink, mut source) = stream.split();
    let data: Vec<u8> = (0..LENGTH).map(|at| (at * 7 / 3) as u8).collect();
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        for chunk in sent.chunks(32 << 10) {
            sink.send(Message::Binary([&[0], chunk].concat().into())).await.unwrap();
        }
        sink.send(Message::Binary(vec![255, 0].into())).await.unwrap();
        sink
    });
    let mut received: Vec<u8> = Vec::new();
    while received.len() < LENGTH {
        if let Message::Binary(message) = within(source.next()).await.unwrap().unwrap() {
            assert!(message.len() <= (32 << 10) + 1);
            received.extend(&message[1..]);
        }
    }
    assert!(received == data);
    let mut stream = within(sending).await.unwrap().reunite(source).unwrap();
    assert_eq!(hear(&mut stream).await.status()["status"], "Success");
}

#[tokio::test]
async fn output_nobody_reads_waits_and_input_nobody_reads_does_not_hold_up_the_end() {
    let world = World::new().await;
    let path = "web/exec?command=head&command=-c&command=50000000&command=%2Fdev%2Fzero\
                &stdin=true&stdout=true";
    let mut stream = world.open(path, V5).await.unwrap();
    for _ in 0..64 {
        send(&mut stream, &[0; 32 << 10]).await;
    }
    let said = hear(&mut stream).await;
    assert_eq!(said.stdout.len(), 50_000_000);
    assert_eq!((said.status()["status"].as_str(), said.close), (Some("Success"), Some(1000)));
}

#[tokio::test]
async fn a_terminal_hears_of_its_size_and_has_no_stderr() {
    let world = World::new().await;
    let path = "web/exec?command=cat&stdin=true&stdout=true&stderr=true&tty=true";
    let mut stream = world.open(path, V5).await.unwrap();
    send(&mut stream, b"\x04{\"Width\":80,\"Height\":24}\n").await;
    send(&mut stream, b"\x00hello\n").await;
    assert!(hear_some(&mut stream).await.starts_with(b"hello"));
    send(&mut stream, b"\x00\x04").await;
    let said = hear(&mut stream).await;
    assert_eq!(said.status()["status"], "Success");
    assert_eq!(said.stderr, b"");
    assert_eq!(*world.node.sizes.lock().unwrap(), [(80, 24)]);
}

#[tokio::test]
async fn attached_clients_hear_what_is_said_from_now_on() {
    let world = World::new().await;
    let mut stream = world.open("web/attach?stdin=true&stdout=true", V5).await.unwrap();
    assert_eq!(hear_some(&mut stream).await, b"attached\n");
    send(&mut stream, b"\x00hello\n").await;
    assert_eq!(hear_some(&mut stream).await, b"hello\n");
    send(&mut stream, b"\xff\x00").await;
    // The exit code of the container is no concern of who was attached.
    assert_eq!(hear(&mut stream).await.status()["status"], "Success");
}

#[tokio::test]
async fn a_client_that_goes_closes_the_input_and_kills_nothing() {
    let world = World::new().await;
    let path = "web/exec?command=sh&command=-c&command=echo+on%3B+cat+%3E+got%3B+mv+got+all\
                &stdin=true&stdout=true";
    let mut stream = world.open(path, V5).await.unwrap();
    send(&mut stream, b"\x00some").await;
    assert_eq!(hear_some(&mut stream).await, b"on\n");
    // Whoever hears the pong has been heard.
    stream.send(Message::Ping("are you there?".into())).await.unwrap();
    while !matches!(within(stream.next()).await.unwrap().unwrap(), Message::Pong(_)) {}
    drop(stream);
    let file = world.node.folder.join("all");
    within(async {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(std::fs::read(&file).unwrap(), b"some");
}

#[tokio::test]
async fn what_cannot_be_run_is_said_on_the_error_channel() {
    let world = World::new().await;
    let mut stream = world.open("web/exec?command=no-such-thing&stdout=true", V5).await.unwrap();
    let said = hear(&mut stream).await;
    assert_eq!(said.status()["reason"], "InternalError");
    assert_eq!(said.close, Some(1000));
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_refused_before_the_upgrade() {
    let world = World::new().await;
    for (path, code, message) in [
        ("none/exec?command=ls&stdout=true", 404, "pods \"none\" not found"),
        (
            "web/exec?container=no&command=ls&stdout=true",
            400,
            "container no is not valid for pod web",
        ),
        (
            "two/exec?command=ls&stdout=true",
            400,
            "a container name must be specified for pod two, choose one of: [main side]",
        ),
        ("waiting/exec?command=ls&stdout=true", 400, "pod waiting does not have a host assigned"),
        ("web/exec?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ] {
        for (method, headers) in [
            ("GET", upgrade(V5)),
            (
                "POST",
                vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0")],
            ),
        ] {
            let request = format!("{method} /api/v1/namespaces/default/pods/{path}");
            let refusal = world.ask(&request, &headers).await.unwrap_err();
            assert_eq!((refusal.code, refusal.status["message"].as_str()), (code, Some(message)));
        }
    }
    let path = "web/exec?command=ls&stdout=true";
    let refusal = world.open(path, "v9.channel.k8s.io").await.unwrap_err();
    assert_eq!(refusal.code, 403);
    let spdy = format!("POST /api/v1/namespaces/default/pods/{path}");
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v9.channel.k8s.io"),
        ("Content-Length", "0"),
    ];
    let refusal = world.ask(&spdy, &headers).await.unwrap_err();
    let message = refusal.status["message"].as_str().unwrap();
    assert_eq!(refusal.code, 403);
    assert!(message.starts_with("unable to upgrade: unable to negotiate protocol"), "{message}");
    let plain = format!("GET /api/v1/namespaces/default/pods/{path}");
    let refusal = world.ask(&plain, &[]).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.status["message"].as_str()),
        (400, Some("Upgrade request required"))
    );
}

#[tokio::test]
async fn leave_to_get_is_not_leave_to_run() {
    let world = World::new().await;
    let path = "GET /api/v1/namespaces/default/pods/web/exec?command=echo&command=hi&stdout=true";
    for (name, verbs) in [("reader", json!(["get"])), ("runner", json!(["get", "create"]))] {
        let role = json!({"metadata": {"name": name}, "rules": [
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]});
        world.create("roles", role).await;
        let binding = json!({
            "metadata": {"name": name},
            "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
        });
        world.create("rolebindings", binding).await;
    }
    let refusal = world.ask_as("reader", "people", path, &upgrade(V5)).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.status["message"].as_str()),
        (
            403,
            Some(
                "pods \"web\" is forbidden: User \"reader\" cannot create resource \"pods/exec\" \
                 in API group \"\" in the namespace \"default\""
            )
        )
    );
    let mut stream = world.ask_as("runner", "people", path, &upgrade(V5)).await.unwrap();
    assert_eq!(hear(&mut stream).await.stdout, b"hi\n");
}

/// Conformance (Pods, logs from websockets) reads what browsers would.
#[tokio::test]
async fn a_log_is_read_in_messages_by_whoever_asks_so() {
    let world = World::new().await;
    for (protocol, messages) in [
        ("binary.k8s.io", ["", "one\n", "two\n"].map(|text| Message::Binary(text.into()))),
        ("base64.binary.k8s.io", ["", "b25lCg==", "dHdvCg=="].map(Message::text)),
    ] {
        let mut stream = world.open("web/log", protocol).await.unwrap();
        for message in messages {
            assert_eq!(within(stream.next()).await.unwrap().unwrap(), message);
        }
        assert_eq!(hear(&mut stream).await.close, Some(1000));
    }
    assert_eq!(world.open("web/log", "v9.k8s.io").await.unwrap_err().code, 403);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let world = World::new().await;
    let path = "web/exec?command=sh&command=-c&command=echo+on%3B+cat&stdin=true&stdout=true";
    let mut stream = world.open(path, V5).await.unwrap();
    assert_eq!(hear_some(&mut stream).await, b"on\n");
    world.stop().await;
    assert_eq!(hear(&mut stream).await.close, None);
}
