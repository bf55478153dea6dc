//! Snapshots held for clients that read a list page by page, so that the pages fit together.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use coracle_api::{Status, Timestamp};
use coracle_store::Snapshot;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::pipeline::content::unreadable;

/// As Go reads tokens: bits beyond the last byte do not matter.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// How long a list may take from its first page on: upstream's compaction interval.
const HELD: SignedDuration = SignedDuration::from_mins(5);

/// Snapshots by revision, each with the time at which its first page was read.
#[derive(Default)]
pub(crate) struct Pages {
    held: Mutex<BTreeMap<u64, (Timestamp, Snapshot)>>,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Revision of the first page; `None` in a token for an inconsistent continuation.
    pub(crate) revision: Option<u64>,
    /// Namespace and name of the last object sent.
    pub(crate) after: (String, String),
}

impl Pages {
    /// Keeps `snapshot` for the pages that follow.
    pub(crate) fn hold(&self, snapshot: &Snapshot, now: Timestamp) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (since, _)| now.duration_since(*since) < HELD);
        held.entry(snapshot.revision()).or_insert_with(|| (now, snapshot.clone()));
    }

    /// The snapshot at `revision`, unless it is too old.
    pub(crate) fn at(&self, revision: u64, now: Timestamp) -> Option<Snapshot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (since, _)| now.duration_since(*since) < HELD);
        held.get(&revision).map(|(_, snapshot)| snapshot.clone())
    }
}

impl Token {
    /// The token as clients carry it.
    pub(crate) fn encode(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision));
        let (namespace, name) = &self.after;
        let token = json!({
            "v": "meta.k8s.io/v1",
            "rv": revision,
            "start": format!("{namespace}/{name}\u{0}"),
        });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// What a client gave back.
    pub(crate) fn decode(token: &str) -> Result<Self, Status> {
        let invalid = |why: &str| {
            let why = format!("invalid continue token: continue key is not valid: {why}");
            Status::bad_request(why)
        };
        let bytes = LENIENT.decode(token).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLength(at) => at,
                _ => token.len(),
            };
            invalid(&format!("illegal base64 data at input byte {at}"))
        })?;
        let token: Value = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(&unreadable::json(&bytes, &error)))?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != "meta.k8s.io/v1" {
            let why = format!("server does not recognize this encoded version {version}");
            return Err(invalid(&why));
        }
        let start = token["start"].as_str().unwrap_or_default().trim_end_matches('\u{0}');
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        if name.is_empty() || name.contains('/') {
            return Err(invalid("encoded start key must be a namespace and a name"));
        }
        let revision = match token["rv"].as_i64() {
            Some(-1) => None,
            Some(revision) if revision > 0 => Some(revision.unsigned_abs()),
            _ => return Err(invalid("incorrect encoded start resourceVersion")),
        };
        Ok(Self { revision, after: (namespace.to_owned(), name.to_owned()) })
    }
}

/// 410 for a page of a list whose snapshot is gone, with a token that goes on at the newest state.
pub(crate) fn expired(token: &Token) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted between \
         the time the first chunk was returned and now may show up in the list.",
    );
    let inconsistent = Token { revision: None, after: token.after.clone() }.encode();
    status.metadata.insert("continue".into(), inconsistent.into());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let token = Token { revision: Some(12), after: ("default".into(), "web-0".into()) };
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        let refused = |token| Token::decode(token).unwrap_err().message;
        assert!(refused("zzz").ends_with("invalid character 'Ï' looking for beginning of value"));
        assert!(refused("a!b").ends_with("illegal base64 data at input byte 1"));
    }

    #[test]
    fn a_snapshot_is_held_for_five_minutes_from_the_first_page() {
        let (pages, start) = (Pages::default(), Timestamp::UNIX_EPOCH);
        pages.hold(&Snapshot::default(), start);
        assert!(pages.at(0, start + SignedDuration::from_secs(299)).is_some());
        assert!(pages.at(0, start + SignedDuration::from_secs(300)).is_none());
    }
}
