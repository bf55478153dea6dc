//! connect: exec, attach, port-forward and proxy are admitted as writes are. What is admitted are the
//! options; who connects then is none of the pipeline's business.

use coracle_api::Status;
use coracle_store::Snapshot;
use serde_json::Value;

use crate::pipeline::admission::{self, Attributes, Operation, VALIDATING, Validate};
use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::{Body, Request};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};

/// Admits a connection; the answer has the options with which it is to be made.
///
/// # Errors
/// What admission says.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    admitted(snapshot, request, VALIDATING, env)
}

fn admitted(
    snapshot: &Snapshot,
    request: &Request,
    validating: &[Validate],
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let Body::Object(options) = &request.body else {
        return Err(Status::bad_request("a connection must say its options").into());
    };
    let mut options: Value = options.clone();
    let mut attributes = Attributes::new(snapshot, request, Operation::Connect, None);
    admission::mutate(&mut attributes, &mut options, env)?;
    admission::validate_by(validating, &mut attributes, &options, env)?;
    let mut prepared = Prepared::answered(Reply::ok(Answer::Value(options)));
    prepared.writes = attributes.writes;
    prepared.requires = attributes.requires;
    prepared.warnings = attributes.warnings;
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coracle_api::resources::PODS;
    use coracle_api::{Kinds, Subresource, Verb};
    use serde_json::json;

    use super::*;
    use crate::Cluster;
    use crate::pipeline::request::{Options, User};
    use crate::pipeline::write::Facts;
    use crate::pipeline::write::calls::{Answers, Moment};

    fn no_shells(attributes: &mut Attributes<'_>, options: &Value) -> Result<(), Status> {
        let is_exec = attributes.operation == Operation::Connect
            && attributes.request.subresource == Some(Subresource::Exec);
        match options["command"][0].as_str() {
            Some("sh") if is_exec => {
                Err(attributes.forbidden(&attributes.request.name, "no shells"))
            }
            _ => Ok(()),
        }
    }

    #[test]
    fn a_policy_sees_who_connects_with_which_options_and_may_refuse() {
        let kinds = Kinds::builtin();
        let connect = |command: &str| {
            let options =
                json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": [command]});
            let request = Request {
                user: User::anonymous(),
                verb: Verb::Get,
                kind: Arc::clone(kinds.stored(PODS).unwrap()),
                namespace: "default".into(),
                name: "web".into(),
                subresource: Some(Subresource::Exec),
                options: Options::default(),
                body: Body::Object(options),
            };
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let answers = Answers::new(Moment { now, seed: [0; 32] });
            let facts = Facts { kinds: &kinds, cluster: &Cluster::default() };
            let mut env = WriteEnv::new(facts, &answers);
            admitted(&Snapshot::default(), &request, &[no_shells], &mut env)
        };
        let Err(Stop::Refused(status)) = connect("sh") else { panic!("a shell") };
        assert_eq!((status.code, &*status.message), (403, "pods \"web\" is forbidden: no shells"));
        let reply = connect("ls").unwrap().unstored().unwrap();
        let Answer::Value(options) = reply.answer else { panic!("no options") };
        assert_eq!(options["command"], json!(["ls"]));
    }
}
