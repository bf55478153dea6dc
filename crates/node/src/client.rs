//! What the node asks of the API, in the process, as `system:node:NAME`.

use std::sync::Arc;

use coracle_api::resources::{NODES, PODS, SERVICE_ACCOUNTS};
use coracle_api::{Key, Object, Status, Subresource, Timestamp, Verb};
use coracle_controllers::{EventType, Note as ControlNote};
use coracle_driver::{EventRecorder, EventSource};
use coracle_server::{Api, Body, Options, Request, User};
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};

use crate::planner;
use crate::pods::PodId;
use crate::volumes::payload::TokenFile;
use crate::worker::WriteFailure;

/// A handle on the API with the node's identity.
#[derive(Clone)]
pub(crate) struct Client {
    pub api: Api,
    node: String,
    events: EventRecorder,
}

/// A service account's token, and when to ask for the next one.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub value: String,
    pub refresh_at: Timestamp,
}

impl Client {
    pub fn new(api: Api, node: String, events: EventRecorder) -> Self {
        Self { api, node, events }
    }

    /// The same with the identity of another node.
    pub fn of_node(&self, name: &str) -> Self {
        Self { node: name.to_owned(), ..self.clone() }
    }

    pub fn now(&self) -> Timestamp {
        self.api.source().now()
    }

    fn request(&self, verb: Verb, resource: &str, key: (&str, &str)) -> Result<Request, Status> {
        let kind = self.api.kinds().stored(resource).cloned();
        let kind = kind.ok_or_else(|| Status::internal(format!("{resource} are not served")))?;
        let groups = ["system:nodes", "system:authenticated"].map(str::to_owned).to_vec();
        Ok(Request {
            user: User { name: format!("system:node:{}", self.node), groups, ..User::default() },
            verb,
            kind,
            namespace: key.0.to_owned(),
            name: key.1.to_owned(),
            subresource: None,
            options: Options { field_manager: "kubelet".to_owned(), ..Options::default() },
            body: Body::Empty,
        })
    }

    /// Creates an object of `resource`.
    pub async fn create(&self, resource: &str, body: Value) -> Result<Arc<Object>, Status> {
        let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let request = self.request(Verb::Create, resource, (&namespace, ""))?;
        object(self.api.call(Request { body: Body::Object(body), ..request }).await?)
    }

    /// Replaces an object, or one of its subresources.
    pub async fn update(
        &self,
        resource: &str,
        subresource: Option<Subresource>,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default().to_owned();
        let request = self.request(Verb::Update, resource, (&text("namespace"), &text("name")))?;
        let body = Body::Object(body);
        object(self.api.call(Request { subresource, body, ..request }).await?)
    }

    /// Writes the pod's status, if it is still the version that the status was made from.
    async fn update_pod_status(
        &self,
        pod: &Object,
        status: &PodStatus,
    ) -> Result<Arc<Object>, Status> {
        let mut body = pod.tree();
        let new = serde_json::to_value(status).map_err(Status::internal)?;
        // Fields that our types do not know stay as they are.
        match (body.get_mut("status").and_then(Value::as_object_mut), new) {
            (Some(old), Value::Object(new)) => old.extend(new),
            (_, new) => body["status"] = new,
        }
        self.update(PODS, Some(Subresource::Status), body).await
    }

    /// Writes the status for the pod's worker.
    pub async fn write_status(
        &self,
        pod: &Object,
        status: &PodStatus,
    ) -> Result<Arc<Object>, WriteFailure> {
        self.update_pod_status(pod, status).await.map_err(|refused| {
            if matches!(refused.code, 404 | 409) {
                // The newest version of the pod; none when it is gone or another one.
                let newest = self.get(pod.key());
                let is_it = |found: &Arc<Object>| found.metadata().uid == pod.metadata().uid;
                return WriteFailure::Outrun(newest.filter(is_it));
            }
            tracing::warn!(pod = %pod.key(), %refused, "the status is refused");
            WriteFailure::Refused
        })
    }

    /// Removes the pod's object for its worker; whether it is gone, or another pod's by now.
    pub async fn remove_pod(&self, id: &PodId) -> bool {
        match self.delete_pod(id).await {
            Err(refused) if !matches!(refused.code, 404 | 409) => {
                tracing::warn!(pod = %id.name, %refused, "the deletion is refused");
                false
            }
            _ => true,
        }
    }

    /// Removes a Node.
    pub async fn delete_node(&self, name: &str) -> Result<(), Status> {
        let request = self.request(Verb::Delete, NODES, ("", name))?;
        self.api.call(request).await.map(drop)
    }

    /// Removes the pod's object at once, if it is still this pod.
    async fn delete_pod(&self, id: &PodId) -> Result<(), Status> {
        let request = self.request(Verb::Delete, PODS, (&id.namespace, &id.name))?;
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": id.uid}});
        self.api.call(Request { body: Body::Object(options), ..request }).await.map(drop)
    }

    /// A token of the pod's service account, bound to the pod.
    pub async fn token(
        &self,
        id: &PodId,
        account: &str,
        file: &TokenFile,
    ) -> Result<Token, Status> {
        let request = self.request(Verb::Create, SERVICE_ACCOUNTS, (&id.namespace, account))?;
        let audiences: Vec<&str> = Some(file.audience.as_str())
            .filter(|audience| !audience.is_empty())
            .into_iter()
            .collect();
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": audiences,
            "expirationSeconds": file.expiration_seconds,
            "boundObjectRef":
                {"apiVersion": "v1", "kind": "Pod", "name": id.name, "uid": id.uid},
        }});
        let request =
            Request { subresource: Some(Subresource::Token), body: Body::Object(body), ..request };
        let reply = self.api.call(request).await?;
        let value = match &reply.answer {
            coracle_server::Answer::Value(value) => value.clone(),
            coracle_server::Answer::Object(object) => object.value().clone(),
            _ => Value::Null,
        };
        let token = value["status"]["token"].as_str().unwrap_or_default().to_owned();
        // Four fifths of its life, as the kubelet does.
        let life = jiff::SignedDuration::from_secs(file.expiration_seconds.saturating_mul(4) / 5);
        let refresh_at = self.now().checked_add(life).unwrap_or(Timestamp::MAX);
        Ok(Token { value: token, refresh_at })
    }

    /// Takes note of an event about `regarding`.
    pub fn record(&self, regarding: &Arc<Object>, note: planner::Note) {
        let event_type = match note.event_type {
            planner::EventType::Normal => EventType::Normal,
            planner::EventType::Warning => EventType::Warning,
        };
        let source = EventSource::on_host("kubelet", &self.node);
        let (reason, message) = (note.reason, note.message);
        let control = ControlNote { regarding: Arc::clone(regarding), event_type, reason, message };
        self.events.record_at(source, control, &note.field_path, self.now());
    }

    /// The object now.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.api.snapshot().get(key).cloned()
    }
}

fn object(reply: coracle_server::Reply) -> Result<Arc<Object>, Status> {
    reply.object().cloned().ok_or_else(|| Status::internal("a write without an object"))
}
