//! The table of sums, beside the table of indexes: what is added up over many objects, kept with the
//! state and changed by what each write adds and takes.

use serde_json::Value;

use crate::pod_resources::{self, Amounts};
use crate::pods::AnyPod;
use crate::quota::{self, Scopes};
use crate::resources::PODS;
use crate::{Object, Quantity};

/// Over which objects is added up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The pods of one priority that have a node and have not ended: `pods`, thousandths of `cpu`,
    /// whole units of everything else that they ask for; and what is assumed of them ([`ASSUMED`]).
    Node {
        /// The node.
        name: String,
        /// `spec.priority`
        priority: i32,
    },
    /// What objects of one resource in one namespace take of quotas; pods apart by what scopes
    /// tell them by.
    Use {
        /// The namespace.
        namespace: String,
        /// GroupResource.
        resource: String,
        /// Which scopes they are in.
        scopes: Scopes,
    },
}

/// Under which names the sums of a node have what is assumed of containers that ask for nothing:
/// resource, name. Thousandths of `cpu`, bytes of `memory`.
pub const ASSUMED: [(&str, &str); 2] = [("cpu", "assumed/cpu"), ("memory", "assumed/memory")];

/// What `object` adds to each of its groups.
pub fn adds(object: &Object) -> Vec<(Group, Amounts)> {
    let resource = &*object.key().resource;
    let namespace = &*object.key().namespace;
    let mut adds = Vec::new();
    if namespace.is_empty() || quota::is_unbounded(resource) {
        return adds;
    }
    if !quota::is_measured(resource) {
        let amounts = quota::usage(resource, &Value::Null);
        adds.push((in_use(namespace, resource, Scopes::default()), amounts));
        return adds;
    }
    object.peek(|value| {
        let scopes = Scopes::of(resource, value);
        adds.push((in_use(namespace, resource, scopes), quota::usage(resource, value)));
        if resource == PODS
            && let Some(node) = value.node_name().filter(|_| value.is_placed())
        {
            let group = Group::Node { name: node.to_owned(), priority: value.priority() };
            let mut amounts = on_node(value);
            let assumed = pod_resources::assumed(&value["spec"]);
            amounts.extend(ASSUMED.iter().filter_map(|(resource, name)| {
                let amount = assumed.get(*resource).filter(|amount| **amount > 0)?;
                Some(((*name).to_owned(), Quantity::from_count(*amount)))
            }));
            adds.push((group, amounts));
        }
    });
    adds
}

fn in_use(namespace: &str, resource: &str, scopes: Scopes) -> Group {
    Group::Use { namespace: namespace.to_owned(), resource: resource.to_owned(), scopes }
}

/// What a pod takes of its node.
pub fn on_node(pod: &Value) -> Amounts {
    let rounded = |(name, amount): (String, Quantity)| {
        let amount = match name.as_str() {
            "cpu" => Quantity::from_millis(amount.milli_value()),
            _ => Quantity::from_count(amount.value()),
        };
        (name, amount)
    };
    let mut amounts: Amounts = pod_resources::requests_held(pod).into_iter().map(rounded).collect();
    amounts.insert(PODS.to_owned(), Quantity::from_count(1));
    amounts
}
