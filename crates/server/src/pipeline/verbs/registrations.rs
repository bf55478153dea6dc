//! An APIService of what we serve ourselves is available from the beginning.

use coracle_api::conditions;
use coracle_api::resources::API_SERVICES;
use serde_json::{Value, json};

use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::write::WriteEnv;

/// Says of a new APIService without a Service that it is available, as upstream's strategy does.
pub(crate) fn note_local(request: &Request, value: &mut Value, env: &WriteEnv<'_>) {
    if request.kind.is(API_SERVICES) && !value["spec"]["service"].is_object() {
        let (condition, now) = (conditions::local_api_service(), rfc3339(env.now));
        value["status"] = json!({"conditions": [conditions::dated(&[], condition, &now)]});
    }
}
