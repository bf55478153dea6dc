//! The audit log: who asked what, when, from where, and what came of it, as a policy says
//! (`audit.k8s.io/v1`). Every request has an ID, with a policy or without; all else is only done for
//! requests that the policy is about.

mod event;
mod log;
pub mod policy;
mod trail;

pub use trail::Auditor;
pub(crate) use trail::{Begun, Trail, of};

use http::{HeaderMap, HeaderValue};

/// The header that a request and its answer have in common.
pub(crate) const ID: &str = "audit-id";
/// Bytes of an ID that a client has chosen.
const ID_MAX: usize = 128;

/// The ID of a request: what its client calls it, if that is a word, or what `make` makes. It is in
/// `headers` afterwards.
pub(crate) fn identify(headers: &mut HeaderMap, make: impl FnOnce() -> String) -> HeaderValue {
    let is_word = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=ID_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    if let Some(said) = headers.get(ID).filter(is_word) {
        return said.clone();
    }
    let made = HeaderValue::from_str(&make());
    let made = made.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    headers.insert(ID, made.clone());
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_called_as_its_client_calls_it_if_that_is_a_word() {
        let mut headers = HeaderMap::new();
        let made = || "made".to_owned();
        assert_eq!(identify(&mut headers, made), "made");
        assert_eq!(headers[ID], "made");
        headers.insert(ID, "0b1a-4".parse().unwrap());
        assert_eq!(identify(&mut headers, made), "0b1a-4");
        for odd in ["", "a b", &"x".repeat(200), "\u{fc}"] {
            headers.insert(ID, HeaderValue::from_bytes(odd.as_bytes()).unwrap());
            assert_eq!(identify(&mut headers, made), "made", "{odd}");
        }
    }
}
