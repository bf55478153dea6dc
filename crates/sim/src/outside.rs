//! What writes ask of the outside, answered from the seed: the same question has the same answer in
//! every run of a seed, whoever asks first.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::certificates::{CERTIFICATE, to_pem};
use coracle_api::{Fetched, Status};
use coracle_server::{Call, Given, Outside};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::random::Random;

/// Answers as `seed` has it.
pub(crate) struct Seeded {
    pub seed: u64,
    /// Where usage is measured.
    pub machine: Machine,
    /// A planted bug: a webhook that is gone allows everything.
    pub lenient: bool,
}

/// How many replicas a webhook allows at most.
pub(crate) const FEW: i64 = 3;

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
            Call::Certify { request, .. } => Ok(Given::Certificate(certificate(request))),
            Call::Post(post) => Ok(Given::Posted(self.posted(&post.url, &post.body))),
            Call::Fetch(fetch) => {
                let answer = Err(format!("Get {:?}: EOF", fetch.path));
                Ok(Given::Fetched(Fetched { url: fetch.path.clone(), tag: String::new(), answer }))
            }
            Call::Measure => Ok(Given::Usage(Arc::new(self.machine.lock().usage()))),
            Call::All(_) | Call::Sweep { .. } => {
                Err(Status::internal("questions are asked one by one"))
            }
            Call::Review { questions } => Ok(Given::Allowed(vec![false; questions.len()])),
        }
    }
}

/// What stands for a certificate of a request, in PEM.
pub(crate) fn certificate(request: &str) -> String {
    to_pem(request.as_bytes(), CERTIFICATE)
}

impl Seeded {
    /// A webhook that allows few replicas, where it is not gone.
    fn posted(&self, url: &str, body: &str) -> Result<String, String> {
        let gone = self.machine.lock().hook_is_gone;
        if gone && !self.lenient {
            return Err(format!(
                "failed to call webhook: Post {url:?}: dial tcp 10.96.0.9:443: connect: connection refused"
            ));
        }
        let review: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let replicas = review["request"]["object"]["spec"]["replicas"].as_i64().unwrap_or(1);
        Ok(json!({
            "kind": "AdmissionReview",
            "apiVersion": review["apiVersion"],
            "response": {"uid": review["request"]["uid"], "allowed": gone || replicas <= FEW},
        })
        .to_string())
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Timestamp;

    use super::*;
    use crate::ready::ready;
    use crate::runtime::Runtime;

    #[test]
    fn one_seed_signs_in_one_way() {
        let sign = |seed, claims: &str| {
            let call = Call::Sign { claims: claims.to_owned() };
            let runtime = Runtime::new(seed, Timestamp::UNIX_EPOCH);
            let machine = Machine::new(runtime);
            ready(Seeded { seed, machine, lenient: false }.answer(&call)).unwrap()
        };
        assert_eq!(sign(1, "a"), sign(1, "a"));
        assert_ne!(sign(1, "a"), sign(2, "a"));
        assert_ne!(sign(1, "a"), sign(1, "b"));
    }
}
