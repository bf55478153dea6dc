//! What a connection is asked for with, as the object that admission sees. Pure.

use coracle_api::{Kind, Subresource};
use serde_json::{Value, json};

use crate::pipeline::parse::{Query, ResourceRef};

/// `PodExecOptions`, `PodAttachOptions`, `PodPortForwardOptions`, or the `ProxyOptions` of a kind.
pub(crate) fn of(
    kind: &Kind,
    subresource: Subresource,
    resource: &ResourceRef,
    query: &Query,
) -> Value {
    let all = |key| query.all(key).collect::<Vec<_>>();
    let streams = || {
        json!({
            "stdin": query.flag("stdin"),
            "stdout": query.flag("stdout"),
            "stderr": query.flag("stderr"),
            "tty": query.flag("tty"),
            "container": query.get("container"),
        })
    };
    let mut options = match subresource {
        Subresource::Exec => {
            let mut options = streams();
            options["command"] = all("command").into();
            options
        }
        Subresource::Attach => streams(),
        Subresource::PortForward => {
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            json!({"ports": ports.filter_map(|port| port.parse().ok()).collect::<Vec<u16>>()})
        }
        _ => json!({"path": resource.rest}),
    };
    options["apiVersion"] = "v1".into();
    options["kind"] = match subresource {
        Subresource::Exec => "PodExecOptions".into(),
        Subresource::Attach => "PodAttachOptions".into(),
        Subresource::PortForward => "PodPortForwardOptions".into(),
        _ => format!("{}ProxyOptions", kind.kind).into(),
    };
    options
}

#[cfg(test)]
mod tests {
    use coracle_api::Kinds;

    use super::*;

    #[test]
    fn admission_sees_what_was_asked() {
        let kinds = Kinds::builtin();
        let read = |plural, subresource, query| {
            let resource = ResourceRef { rest: "a/b".into(), ..ResourceRef::default() };
            let kind = kinds.resource("", "v1", plural).unwrap();
            of(kind, subresource, &resource, &Query::parse(query))
        };
        let exec = read("pods", Subresource::Exec, "command=ls&command=-l&stdout=true&container=c");
        assert_eq!(
            exec,
            json!({
                "apiVersion": "v1", "kind": "PodExecOptions", "command": ["ls", "-l"],
                "stdin": false, "stdout": true, "stderr": false, "tty": false, "container": "c",
            })
        );
        let ports = read("pods", Subresource::PortForward, "ports=80,81&ports=82&ports=x");
        assert_eq!(ports["ports"], json!([80, 81, 82]));
        let proxy = read("services", Subresource::Proxy, "");
        assert_eq!(
            (&proxy["kind"], &proxy["path"]),
            (&json!("ServiceProxyOptions"), &json!("a/b"))
        );
    }
}
