//! What writes ask of the outside, answered from the seed: the same question has the same answer in
//! every run of a seed, whoever asks first.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Fetched, Status};
use coracle_server::{Call, Given, Outside};
use serde_json::{Value, json};

use crate::random::Random;

/// Answers as `seed` has it.
pub(crate) struct Seeded {
    pub seed: u64,
}

#[async_trait]
impl Outside for Seeded {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        match call {
            Call::Sign { claims } => {
                let mixed = claims
                    .bytes()
                    .fold(self.seed, |mixed, byte| Random::new(mixed ^ u64::from(byte)).number());
                Ok(Given::Token(format!("{claims}.{mixed:016x}")))
            }
            Call::Measure => Ok(Given::Usage(Arc::default())),
            Call::Certify { request, .. } => Ok(Given::Certificate(format!("of {request}"))),
            Call::Post(post) => Ok(Given::Posted(posted(self.seed, &post.url, &post.body))),
            Call::Fetch(fetch) => {
                let answer = Err(format!("Get {:?}: EOF", fetch.path));
                Ok(Given::Fetched(Fetched { url: fetch.path.clone(), tag: String::new(), answer }))
            }
            Call::All(_) | Call::Sweep { .. } => {
                Err(Status::internal("questions are asked one by one"))
            }
            Call::Review { questions } => Ok(Given::Allowed(vec![false; questions.len()])),
        }
    }
}

/// A webhook that allows most of what it is asked about, and cannot be reached now and then.
fn posted(seed: u64, url: &str, body: &str) -> Result<String, String> {
    let mixed =
        body.bytes().fold(seed, |mixed, byte| Random::new(mixed ^ u64::from(byte)).number());
    let review: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    match mixed % 16 {
        0 => Err(format!(
            "failed to call webhook: Post {url:?}: dial tcp 10.96.0.9:443: connect: connection refused"
        )),
        chance => Ok(json!({
            "kind": "AdmissionReview",
            "apiVersion": review["apiVersion"],
            "response": {"uid": review["request"]["uid"], "allowed": chance != 1},
        })
        .to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready::ready;

    #[test]
    fn one_seed_signs_in_one_way() {
        let sign = |seed, claims: &str| {
            let call = Call::Sign { claims: claims.to_owned() };
            ready(Seeded { seed }.answer(&call)).unwrap()
        };
        assert_eq!(sign(1, "a"), sign(1, "a"));
        assert_ne!(sign(1, "a"), sign(2, "a"));
        assert_ne!(sign(1, "a"), sign(1, "b"));
    }
}
