//! A health check by gRPC: `grpc.health.v1.Health/Check`, over HTTP/2 without TLS. Two messages of
//! one field each, written and read by hand.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::{self, Dial};
use crate::planner::Outcome;

/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 10 << 10;
/// Whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// `HealthCheckRequest.service`, of wire type "length-delimited".
const SERVICE: u8 = 0x0a;
/// `HealthCheckResponse.status`, of wire type "varint".
const STATUS: u8 = 0x08;
/// `HealthCheckResponse.ServingStatus`, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// gRPC's codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// How a call failed: a code, and a sentence.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    code: usize,
    message: String,
}

impl Refusal {
    fn unavailable(error: &dyn std::error::Error) -> Self {
        Self { code: 14, message: error.to_string() }
    }
}

/// Asks the server at `address` whether `service` is well, within `limit`; in upstream's
/// words. `agent` says who asks.
pub(crate) async fn check(
    dial: &Dial,
    address: SocketAddr,
    service: &str,
    agent: &str,
    limit: Duration,
) -> Outcome {
    let seconds = limit.as_secs();
    // Upstream's client tries to connect until its time is over, and says no more than that.
    let Ok(Ok(stream)) = timeout(limit, dial::tcp_by(dial, address, limit)).await else {
        let why = "context deadline exceeded";
        return Outcome::Failure(format!(
            "timeout: failed to connect service \"{address}\" within {seconds}s: {why}"
        ));
    };
    let late =
        || Outcome::Failure(format!("timeout: health rpc did not complete within {seconds}s"));
    let status = match timeout(limit, call(stream, address, service, agent)).await {
        Err(_) => return late(),
        Ok(Ok(status)) => status,
        Ok(Err(Refusal { code: 4, .. })) => return late(),
        Ok(Err(Refusal { code: 12, message })) => {
            let why = "this server does not implement the grpc health protocol";
            return Outcome::Failure(format!("error: {why} (grpc.health.v1.Health): {message}"));
        }
        Ok(Err(Refusal { code, message })) => {
            let code = CODES.get(code).copied().unwrap_or("Unknown");
            let why = format!("rpc error: code = {code} desc = {message}");
            return Outcome::Failure(format!("error: health rpc probe failed: {why}"));
        }
    };
    match usize::try_from(status).ok().and_then(|number| STATUSES.get(number)) {
        Some(&"SERVING") => Outcome::Success,
        Some(name) => unhealthy(name),
        None => unhealthy(&status.to_string()),
    }
}

fn unhealthy(status: &str) -> Outcome {
    Outcome::Failure(format!("service unhealthy (responded with {status:?})"))
}

async fn call(
    stream: TcpStream,
    address: SocketAddr,
    service: &str,
    agent: &str,
) -> Result<u64, Refusal> {
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.map_err(|error| Refusal::unavailable(&error))?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", agent)
        .body(Full::new(question(service)))
        .map_err(|error| Refusal::unavailable(&error))?;
    let answered = async {
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|error| Refusal::unavailable(&error))?.into_parts();
        if parts.status != http::StatusCode::OK {
            let code = if parts.status == http::StatusCode::NOT_FOUND { 12 } else { 2 };
            let message =
                format!("unexpected HTTP status code received from server: {}", parts.status);
            return Err(Refusal { code, message });
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Refusal::unavailable(&*error))?;
        refusal(&parts.headers)?;
        if let Some(trailers) = body.trailers() {
            refusal(trailers)?;
        }
        answer(&body.to_bytes())
    };
    tokio::select! {
        status = answered => status,
        Err(error) = connection => Err(Refusal::unavailable(&error)),
    }
}

/// What headers or trailers say of a call that failed.
fn refusal(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map_or(Ok(0), str::parse) {
        Ok(0) => Ok(()),
        code => {
            let message = text("grpc-message").unwrap_or_default().to_owned();
            Err(Refusal { code: code.unwrap_or(2), message })
        }
    }
}

/// A message with the service's name, which is at most as long as a label may be wide.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(bytes: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        bytes.put_u8(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.put_u8(u8::try_from(number).unwrap_or_default());
}

/// The status in a message; 0 when it has none.
fn answer(framed: &[u8]) -> Result<u64, Refusal> {
    let odd = || Refusal { code: 13, message: "the answer cannot be read".to_owned() };
    let (prefix, message) = framed.split_at_checked(PREFIX_BYTES).ok_or_else(odd)?;
    if prefix.first() != Some(&0) {
        return Err(odd());
    }
    match message.split_first() {
        None => Ok(0),
        Some((&STATUS, rest)) => varint(rest).ok_or_else(odd),
        Some(_) => Err(odd()),
    }
}

fn varint(bytes: &[u8]) -> Option<u64> {
    let mut number = 0;
    for (byte, shift) in bytes.iter().zip((0..64).step_by(7)) {
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// What a server that answers one call so makes of a check.
    async fn checked(message: &'static [u8], code: &'static str, limit: Duration) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(asked, question("db"));
                if code == "none" {
                    std::future::pending::<()>().await;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                trailers.insert("grpc-message", "oh".parse().unwrap());
                let body = Full::new(Bytes::from_static(message));
                let body = body.with_trailers(async { Some(Ok(trailers)) });
                Ok::<_, Infallible>(http::Response::new(body))
            });
            let served = http2::Builder::new(TokioExecutor::new());
            served.serve_connection(TokioIo::new(stream), answer).await.unwrap_or(());
        });
        let dial: Dial =
            Arc::new(|address, limit| std::net::TcpStream::connect_timeout(&address, limit));
        check(&dial, address, "db", "test", limit).await
    }

    #[tokio::test]
    async fn a_server_is_well_or_says_why_not() {
        let long = Duration::from_secs(60);
        let failure = |text: &str| Outcome::Failure(text.to_owned());
        assert_eq!(checked(&[0, 0, 0, 0, 2, 8, 1], "0", long).await, Outcome::Success);
        assert_eq!(
            checked(&[0, 0, 0, 0, 2, 8, 2], "0", long).await,
            failure("service unhealthy (responded with \"NOT_SERVING\")")
        );
        assert_eq!(
            checked(&[], "12", long).await,
            failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): oh"
            )
        );
        assert_eq!(
            checked(&[], "5", long).await,
            failure("error: health rpc probe failed: rpc error: code = NotFound desc = oh")
        );
        assert_eq!(
            checked(&[], "none", Duration::from_secs(1)).await,
            failure("timeout: health rpc did not complete within 1s")
        );
    }

    #[test]
    fn a_question_is_framed() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(&question(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn an_answer_is_read_or_refused() {
        for (framed, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0][..], Some(0)),
            (&[0, 0, 0, 0, 3, 8, 0x82, 1][..], Some(130)),
            (&[0, 0][..], None),
            (&[1, 0, 0, 0, 0][..], None),
            (&[0, 0, 0, 0, 2, 8, 0x80][..], None),
            (&[0, 0, 0, 0, 2, 9, 1][..], None),
        ] {
            assert_eq!(answer(framed).ok(), status, "{framed:?}");
        }
    }

    #[test]
    fn trailers_tell_of_a_refusal() {
        let mut headers = HeaderMap::new();
        assert_eq!(refusal(&headers), Ok(()));
        headers.insert("grpc-status", "12".parse().unwrap());
        headers.insert("grpc-message", "unknown service".parse().unwrap());
        let message = "unknown service".to_owned();
        assert_eq!(refusal(&headers), Err(Refusal { code: 12, message }));
    }
}
