//! What no client should send, and clients that do nothing for long.

use crate::support::running::{Running, start, status, text};
use crate::support::within;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_PATCH: &str = "application/json-patch+json";

/// The administrator sends `body` of media type `content`.
async fn send(
    server: &Running,
    method: &str,
    path: &str,
    content: &str,
    body: impl Into<Bytes>,
) -> (u16, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", content)
        .body(Full::new(body.into()))
        .unwrap();
    let mut connection = server.speak(Some(server.admin())).await;
    status(within(connection.send_request(request)).await.unwrap()).await
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_in_upstreams_words() {
    let server = start().await;
    let nested = |open: &str| Bytes::from(open.repeat(100_000));
    let protobuf = |bytes: &[u8]| Bytes::from([b"k8s\0", bytes].concat());
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let no_json = format!("{unrecognized}couldn't get version/kind; json parse error: ");
    for (content, body, message) in [
        (JSON, Bytes::new(), format!("{no_json}unexpected end of JSON input (<empty>)")),
        (JSON, "{".into(), format!("{no_json}unexpected end of JSON input ({{)")),
        (
            JSON,
            "<a>".into(),
            format!("{no_json}invalid character '<' looking for beginning of value (3c613e)"),
        ),
        (JSON, nested("["), format!("{no_json}nested deeper than 120 levels")),
        (JSON, nested("{\"a\":"), format!("{no_json}nested deeper than 120 levels")),
        (YAML, "a: [".into(), format!("{unrecognized}error converting YAML to JSON: ")),
        (
            YAML,
            nested("- "),
            format!("{unrecognized}error converting YAML to JSON: nested deeper than 120 levels"),
        ),
        (
            YAML,
            "a: &a [*a]".into(),
            format!(
                "{unrecognized}error converting YAML to JSON: yaml: anchor value contains itself"
            ),
        ),
        (PROTOBUF, "garbage".into(), format!("{unrecognized}provided data does not appear to be")),
        (
            PROTOBUF,
            protobuf(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            format!("{unrecognized}proto:"),
        ),
        (
            JSON,
            r#"{"kind": 5}"#.into(),
            "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go \
             struct field .kind of type string"
                .into(),
        ),
        (
            JSON,
            "[]".into(),
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get \
             version/kind; json parse error: json: cannot unmarshal array into"
                .into(),
        ),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (code, found) = send(&server, "POST", CONFIG_MAPS, content, body).await;
        assert_eq!(code, 400, "{shown}");
        assert!(found.starts_with(&message), "{shown}: {found}");
    }
}

/// 100,000 open brackets took libyaml two minutes, in which the API was silent.
#[tokio::test]
async fn a_body_without_bottom_is_refused_where_it_becomes_too_deep() {
    let server = start().await;
    for open in
        ["[", "{", "[{a: ", "- ", "? ", "a: [", "- - ? ", "\"", "&a [", "!a [", "{a: &b ", "|\n "]
    {
        let body = format!("a: {}", open.repeat(1_000_000 / open.len()));
        let (code, message) = send(&server, "POST", CONFIG_MAPS, YAML, body).await;
        assert!(matches!(code, 400 | 422), "{open}: {code} {message}");
    }
}

#[tokio::test]
async fn yaml_may_repeat_itself_but_not_without_end() {
    let server = start().await;
    let small = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: &l {x: z}, \
                 annotations: *l}\n";
    let (code, message) = send(&server, "POST", CONFIG_MAPS, YAML, small).await;
    assert_eq!(code, 201, "{message}");
    // 100 kB fifty thousand times, as a list of one string, are 5 GB.
    let strings = format!("s: &s {}\nl: [{}]", "x".repeat(100_000), ["*s"; 50_000].join(","));
    let mut lists = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (older, newer) in ('a'..'m').zip('b'..='m') {
        lists += &format!("{newer}: &{newer} [{}]\n", vec![format!("*{older}"); 9].join(","));
    }
    for bomb in [strings, lists] {
        let (code, message) = send(&server, "POST", CONFIG_MAPS, YAML, bomb).await;
        assert_eq!(code, 400);
        assert!(message.contains("error converting YAML to JSON: "), "{message}");
    }
}

#[tokio::test]
async fn a_patch_that_is_none_or_grows_is_refused() {
    let server = start().await;
    let made = json!({"metadata": {"name": "a"}, "data": {"a": "1"}}).to_string();
    assert_eq!(send(&server, "POST", CONFIG_MAPS, JSON, made).await.0, 201);
    let path = format!("{CONFIG_MAPS}/a");
    let copies = (0..40).map(|_| json!({"op": "copy", "from": "/data/b", "path": "/data/b/-"}));
    let start = json!({"op": "add", "path": "/data/b", "value": ["x".repeat(1000)]});
    let bomb: Vec<Value> = std::iter::once(start).chain(copies).collect();
    let many = vec![json!({"op": "test", "path": "/data/a", "value": "1"}); 10_001];
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    for (content, body, expected) in [
        (JSON_PATCH, String::new(), 400),
        (JSON_PATCH, "{".into(), 400),
        (JSON_PATCH, "{}".into(), 400),
        (JSON_PATCH, json!([{"op": "frob", "path": "/data/a"}]).to_string(), 422),
        (JSON_PATCH, json!([{"op": "remove", "path": "/data/none"}]).to_string(), 422),
        (JSON_PATCH, json!([{"op": "test", "path": "/data/a", "value": "2"}]).to_string(), 422),
        (JSON_PATCH, json!(bomb).to_string(), 422),
        (JSON_PATCH, json!(many).to_string(), 413),
        (merge, "[]".into(), 400),
        (merge, String::new(), 400),
        (merge, json!({"data": {"a": 5}}).to_string(), 422),
        (strategic, "[]".into(), 400),
        (strategic, json!({"data": {"$patch": "frob"}}).to_string(), 500),
        ("application/apply-patch+yaml", "a: b".into(), 422),
        ("application/json", "{}".into(), 415),
    ] {
        let shown: String = body.chars().take(60).collect();
        let (code, message) = send(&server, "PATCH", &path, content, body).await;
        assert_eq!(code, expected, "{content} {shown}: {message}");
    }
    let (code, kept) = {
        let response = server.ask(Some(server.admin()), "GET", &path, b"").await;
        (response.status(), text(response).await)
    };
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap()["data"], json!({"a": "1"}));
}

/// Patch by patch an object could grow deeper than what the store reads back.
#[tokio::test]
async fn patches_cannot_nest_deeper_than_bodies() {
    let server = start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let deep = |levels: usize| "{\"not\":".repeat(levels) + "{}" + &"}".repeat(levels);
    let schema = format!("{{\"type\": \"object\", \"not\": {}}}", deep(80));
    let definition = format!(
        "{{\"metadata\": {{\"name\": \"foos.example.com\"}}, \"spec\": {{\"group\": \
         \"example.com\", \"scope\": \"Namespaced\", \"names\": {{\"plural\": \"foos\", \"kind\": \
         \"Foo\"}}, \"versions\": [{{\"name\": \"v1\", \"served\": true, \"storage\": true, \
         \"schema\": {{\"openAPIV3Schema\": {schema}}}}}]}}}}"
    );
    let (code, message) = send(&server, "POST", path, JSON, definition).await;
    assert_eq!(code, 201, "{message}");
    let place = format!("/spec/versions/0/schema/openAPIV3Schema{}", "/not".repeat(81));
    let patch =
        format!("[{{\"op\": \"add\", \"path\": \"{place}/not\", \"value\": {}}}]", deep(60));
    let one = format!("{path}/foos.example.com");
    let (code, message) = send(&server, "PATCH", &one, JSON_PATCH, patch).await;
    assert_eq!((code, message.contains("exceeded max depth")), (422, true), "{message}");
}

#[tokio::test]
async fn a_method_that_means_nothing_reads_nothing() {
    let server = start().await;
    for method in ["OPTIONS", "TRACE", "FROB"] {
        let (code, message) = send(&server, method, CONFIG_MAPS, JSON, "").await;
        assert_eq!(code, 405, "{method}: {message}");
        let stranger = server.pki.client("stranger", &[]).unwrap();
        let refused = server.ask(Some(stranger), method, CONFIG_MAPS, b"").await;
        assert_eq!(refused.status(), 403, "{method}");
    }
}

#[tokio::test]
async fn a_token_that_is_none_is_refused() {
    let server = start().await;
    for token in ["x", "a.b.c", "é", "eyJhbGciOiJub25lIn0.e30."] {
        let request = http::Request::builder()
            .uri(CONFIG_MAPS)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}").as_bytes())
            .body(Full::default())
            .unwrap();
        let response = server.speak(None).await.send_request(request).await.unwrap();
        assert_eq!(status(response).await, (401, "Unauthorized".into()), "{token}");
    }
}

#[tokio::test]
async fn options_that_are_none_are_refused() {
    let server = start().await;
    let too_high = "strconv.ParseInt: parsing \"99999999999999999999\": value out of range";
    for (query, code, message) in [
        ("limit=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("limit=99999999999999999999", 400, too_high),
        ("continue=bogus", 400, "invalid continue token: continue key is not valid"),
        (
            "resourceVersion=abc",
            400,
            "invalid resource version: resourceVersion: Invalid value: \"abc\"",
        ),
        ("resourceVersion=999999999", 504, "Timeout: Too large resource version"),
        (
            "resourceVersion=1&resourceVersionMatch=foo",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \
             \"foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        ),
        ("labelSelector=a%20in%20(b", 400, "unable to parse requirement"),
        ("fieldSelector=spec.foo=x", 400, "\"spec.foo\" is not a known field selector"),
    ] {
        let path = format!("{CONFIG_MAPS}?{query}");
        let found = send(&server, "GET", &path, JSON, "").await;
        assert_eq!(found.0, code, "{query}: {}", found.1);
        assert!(found.1.starts_with(message), "{query}: {}", found.1);
    }
}

#[tokio::test]
async fn a_prefix_that_begins_no_name_is_named() {
    let server = start().await;
    let body = json!({"metadata": {"generateName": "A_"}}).to_string();
    let (code, message) = send(&server, "POST", CONFIG_MAPS, JSON, body).await;
    assert_eq!(code, 422);
    assert!(message.contains("metadata.generateName: Invalid value: \"A_\": "), "{message}");
    let body = json!({"metadata": {"generateName": "web-"}}).to_string();
    assert_eq!(send(&server, "POST", CONFIG_MAPS, JSON, body).await.0, 201);
}

/// A client that writes its whole body before it reads sees why it was refused.
#[tokio::test]
async fn who_sends_far_too_much_hears_so() {
    let server = start().await;
    let body = Bytes::from(vec![b' '; 20 << 20]);
    let (code, message) = send(&server, "POST", CONFIG_MAPS, JSON, body).await;
    assert_eq!(code, 413);
    assert_eq!(message, "Request entity too large: limit is 3145728");
}

#[tokio::test]
async fn clients_that_stand_still_hinder_nobody() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        // Not a byte; half a handshake; and below, a body that stops.
        idle.push(TcpStream::connect(server.address).await.unwrap());
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(&[0x16, 3, 1]).await.unwrap();
        idle.push(half);
    }
    let path = format!("{CONFIG_MAPS}?watch=1");
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(server.ask(Some(server.admin()), "GET", &path, b"").await);
    }
    // More than the buffers between server and client hold.
    for number in 0..200 {
        let data = json!({"a": "x".repeat(100_000)});
        let body = json!({"metadata": {"name": format!("c{number}")}, "data": data}).to_string();
        assert_eq!(send(&server, "POST", CONFIG_MAPS, JSON, body).await.0, 201);
    }
    // Who begins to read is told what happened, or that it is too late for that.
    let mut late = unread.pop().unwrap().into_body();
    let frame = within(late.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.starts_with(b"{\"type\":\"ADDED\""));
    drop(idle);
}
