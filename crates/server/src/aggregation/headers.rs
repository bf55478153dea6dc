//! The headers of a request that is handed to another API server. Pure.
//!
//! That server believes what `X-Remote-*` says of the user, because our certificate vouches for it.
//! So nothing of that name may come from the client, whatever it does with `Connection` (RFC 9110,
//! section 7.6.1); and what the client proved itself with stays here.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::pipeline::request::User;
use crate::streams::hops::{OWN_HEADERS, remove};

/// What begins the name of each header about the user.
const USER_HEADERS: &str = "x-remote-";
/// A WebSocket may carry a token as one of the protocols that it offers.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The client's headers as the server called `host` gets them, with who `user` is. An upgrade that
/// was asked for is asked for again.
///
/// # Errors
/// When something about the user fits into no header.
pub(super) fn handed_on(from: &HeaderMap, user: &User, host: &str) -> Result<HeaderMap, String> {
    let mut headers = from.clone();
    let upgrade = headers.get(header::UPGRADE).cloned();
    remove(&mut headers, OWN_HEADERS);
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    let is_ours = |name: &&HeaderName| {
        name.as_str().starts_with(USER_HEADERS) || name.as_str().starts_with("impersonate-")
    };
    for name in names.iter().filter(is_ours) {
        headers.remove(name);
    }
    keep_protocols(&mut headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    headers.insert(header::HOST, value(host)?);
    add_user(&mut headers, user)?;
    Ok(headers)
}

/// The protocols that a WebSocket offers, but for a token.
fn keep_protocols(headers: &mut HeaderMap) {
    let said = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let Some(said) = said.filter(|said| said.contains(TOKEN_PROTOCOL)) else { return };
    let kept = said.split(',').map(str::trim).filter(|it| !it.starts_with(TOKEN_PROTOCOL));
    let kept = kept.collect::<Vec<_>>().join(", ");
    match HeaderValue::from_str(&kept) {
        Ok(kept) if !kept.is_empty() => {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, kept);
        }
        _ => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
    }
}

/// Who asks, as `client-go`'s `transport.SetAuthProxyHeaders` says it.
pub(super) fn add_user(headers: &mut HeaderMap, user: &User) -> Result<(), String> {
    headers.insert("x-remote-user", value(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert("x-remote-uid", value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("x-remote-extra-{}", escaped(key)));
        let name = name.map_err(|error| error.to_string())?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|error| error.to_string())
}

/// A key as part of a header's name: what may not stand there, and what escapes begin with, is
/// escaped.
fn escaped(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        match byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            true => text.push(char::from(byte.to_ascii_lowercase())),
            false => text.push_str(&format!("%{byte:02x}")),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            name: "anna".into(),
            uid: "u-1".into(),
            groups: vec!["staff".into(), "system:authenticated".into()],
            extra: [("Example.com/a%".to_owned(), vec!["x".to_owned(), "y".to_owned()])].into(),
            ..User::default()
        }
    }

    fn handed(from: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in from {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let headers = handed_on(&headers, &user(), "server.shop.svc").unwrap();
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut all: Vec<String> = headers.iter().map(shown).collect();
        all.sort();
        all
    }

    #[test]
    fn who_asks_is_what_we_say_and_nothing_that_the_client_says() {
        let ours = [
            "host: server.shop.svc",
            "x-remote-extra-example.com%2fa%25: x",
            "x-remote-extra-example.com%2fa%25: y",
            "x-remote-group: staff",
            "x-remote-group: system:authenticated",
            "x-remote-uid: u-1",
            "x-remote-user: anna",
        ];
        assert_eq!(handed(&[]), ours);
        let forged = [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "admin"),
            ("impersonate-extra-a", "b"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("x-remote-anything", "else"),
            // Whoever reads this would throw away what we say.
            ("connection", "keep-alive, X-Remote-Group"),
            ("transfer-encoding", "chunked"),
            ("host", "api"),
        ];
        assert_eq!(handed(&forged), ours);
    }

    #[test]
    fn an_upgrade_is_asked_for_again_without_the_token_that_came_with_it() {
        let all = handed(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            (
                "sec-websocket-protocol",
                "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io",
            ),
        ]);
        for wanted in [
            "connection: Upgrade",
            "upgrade: websocket",
            "sec-websocket-protocol: v4.channel.k8s.io",
        ] {
            assert!(all.iter().any(|header| header == wanted), "{wanted}: {all:?}");
        }
    }

    #[test]
    fn a_name_that_would_begin_another_header_is_refused() {
        let user = User { name: "a\r\nX-Remote-Group: system:masters".into(), ..User::default() };
        assert!(handed_on(&HeaderMap::new(), &user, "h").is_err());
    }
}
