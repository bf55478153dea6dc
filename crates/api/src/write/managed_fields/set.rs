//! Sets of fields, and their wire form `FieldsV1`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path, in the form of `FieldsV1`: `f:name` for a field, `k:{"name":"a"}` for an
/// item of a list by its keys, `v:"a"` for a member of a set, `i:0` for a place in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathElement(Box<str>);

impl PathElement {
    /// The field called `name`.
    pub fn field(name: &str) -> Self {
        Self(format!("f:{name}").into())
    }

    /// The item of a list whose keys have these values.
    pub fn key(keys: Map<String, Value>) -> Self {
        Self(format!("k:{}", Value::Object(keys)).into())
    }

    /// The member `value` of a set.
    pub fn value(value: &Value) -> Self {
        Self(format!("v:{value}").into())
    }

    /// The item at a place.
    pub fn index(place: usize) -> Self {
        Self(format!("i:{place}").into())
    }

    /// The name, when it is a field.
    pub fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// Reads the wire form, bringing keys into order.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" | "i" => Some(Self(text.into())),
            "k" => match serde_json::from_str(rest).ok()? {
                Value::Object(keys) => Some(Self::key(keys)),
                _ => None,
            },
            "v" => Some(Self::value(&serde_json::from_str(rest).ok()?)),
            // Upstream skips what a later version may invent.
            _ => None,
        }
    }
}

/// As in messages: `.spec`, `[name="a"]`, `[="a"]`, `[0]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rest) = self.0.split_once(':').unwrap_or(("f", &self.0));
        match (kind, serde_json::from_str(rest)) {
            ("f", _) => write!(f, ".{rest}"),
            ("k", Ok(Value::Object(keys))) => {
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            ("v", _) => write!(f, "[={rest}]"),
            _ => write!(f, "[{rest}]"),
        }
    }
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Whether the path that ends here is in the set.
    member: bool,
    children: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl FieldSet {
    /// Reads `FieldsV1`; `None` when it is none.
    pub fn parse(fields: &Value) -> Option<Self> {
        let Value::Object(map) = fields else { return None };
        let mut set = Self::default();
        for (name, below) in map.iter().filter(|(name, _)| *name != ".") {
            let Some(element) = PathElement::parse(name) else { continue };
            let empty = below.as_object().is_some_and(Map::is_empty);
            let member = empty || below.get(".").is_some();
            let children = Self::parse(below)?;
            set.nodes.insert(element, Node { member, children });
        }
        Some(set)
    }

    /// The wire form.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.children.to_json();
            if let (true, Value::Object(fields)) = (node.member, &mut below)
                && !fields.is_empty()
            {
                fields.insert(".".to_string(), Value::Object(Map::new()));
            }
            map.insert(element.0.to_string(), below);
        }
        Value::Object(map)
    }

    /// Whether it has no path.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path; the empty path is in no set.
    pub fn insert(&mut self, path: &[PathElement]) {
        if let Some((first, rest)) = path.split_first() {
            let node = self.nodes.entry(first.clone()).or_default();
            if rest.is_empty() {
                node.member = true;
            } else {
                node.children.insert(rest);
            }
        }
    }

    /// The set of one path of fields: `metadata`, `name`.
    pub fn of_fields(path: &[&str]) -> Self {
        let path: Vec<PathElement> = path.iter().map(|name| PathElement::field(name)).collect();
        let mut set = Self::default();
        set.insert(&path);
        set
    }

    /// Whether the path of just `element` is in the set.
    pub fn has(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The paths below `element`, without it.
    pub fn below(&self, element: &PathElement) -> Option<&Self> {
        self.nodes.get(element).map(|node| &node.children)
    }

    /// Adds what is known only of the path of just `element`.
    pub fn insert_element(&mut self, element: &PathElement) {
        self.nodes.entry(element.clone()).or_default().member = true;
    }

    /// The first steps of all paths, with the paths below each.
    pub fn children(&self) -> impl Iterator<Item = (&PathElement, &Self)> {
        self.nodes.iter().map(|(element, node)| (element, &node.children))
    }

    /// Puts `below` under `element`.
    pub fn set_below(&mut self, element: &PathElement, below: Self) {
        if !below.is_empty() || self.nodes.contains_key(element) {
            self.nodes.entry(element.clone()).or_default().children = below;
        }
    }

    /// Paths in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (element, theirs) in &other.nodes {
            let node = self.nodes.entry(element.clone()).or_default();
            node.member |= theirs.member;
            node.children = std::mem::take(&mut node.children).union(&theirs.children);
        }
        self
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(|element, node| {
            other.nodes.get(element).map_or_else(Node::default, |theirs| Node {
                member: node.member && theirs.member,
                children: node.children.intersection(&theirs.children),
            })
        })
    }

    /// Paths that `other` does not have.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(|element, node| {
            other.nodes.get(element).map_or_else(
                || node.clone(),
                |theirs| Node {
                    member: node.member && !theirs.member,
                    children: node.children.difference(&theirs.children),
                },
            )
        })
    }

    /// Paths that are neither in `other` nor below a path of it.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(|element, node| match other.nodes.get(element) {
            None => node.clone(),
            Some(theirs) if theirs.member => Node::default(),
            Some(theirs) => {
                Node { member: node.member, children: node.children.without(&theirs.children) }
            }
        })
    }

    fn combine(&self, node: impl Fn(&PathElement, &Node) -> Node) -> Self {
        let nodes = self.nodes.iter().map(|(element, own)| (element.clone(), node(element, own)));
        Self { nodes: nodes.filter(|(_, node)| !node.is_empty()).collect() }
    }

    /// The paths as messages show them, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let path = format!("{prefix}{element}");
            if node.member {
                paths.push(path.clone());
            }
            node.children.collect_paths(&path, paths);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_wire_form_is_read_and_written() {
        let fields = json!({"f:spec": {"f:ports": {
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}});
        let set = FieldSet::parse(&fields).unwrap();
        assert_eq!(set.to_json(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers[=\"x\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port"
            ]
        );
        let swapped = json!({"k:{\"b\":1,\"a\":2}": {}});
        let in_order = json!({"k:{\"a\":2,\"b\":1}": {}});
        assert_eq!(FieldSet::parse(&swapped).unwrap().to_json(), in_order);
        assert_eq!(FieldSet::parse(&json!({"f:a": 1})), None);
    }

    fn sets() -> impl Strategy<Value = FieldSet> {
        prop::collection::vec(prop::collection::vec("[abc]", 1..4), 0..6).prop_map(|paths| {
            let mut set = FieldSet::default();
            for path in paths {
                let path: Vec<PathElement> =
                    path.iter().map(|name| PathElement::field(name)).collect();
                set.insert(&path);
            }
            set
        })
    }

    proptest! {
        #[test]
        fn sets_obey_their_laws(a in sets(), b in sets()) {
            prop_assert_eq!(FieldSet::parse(&a.to_json()).unwrap(), a.clone());
            prop_assert_eq!(a.clone().union(&b), b.clone().union(&a));
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert!(a.difference(&a).is_empty());
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.without(&b).difference(&a.difference(&b)).is_empty());
        }
    }
}
