//! From a URL to what it means, once. Pure.

use std::num::{IntErrorKind, ParseIntError};

use coracle_api::kind::Text;
use coracle_api::kinds::Kinds;
use coracle_api::resources::NAMESPACES;
use coracle_api::text::urls;
use coracle_api::{Kind, Status, Subresource, Verb};
use http::Method;

/// Subresources whose requests go on for as long as their clients like.
const LONG: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// What a URL with a method is about, before anyone knows whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Something in the API.
    Resource(ResourceRef),
    /// Anything else: `/version`, discovery.
    Path(String),
}

/// A resource as a URL names it, and the verb as RBAC names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRef {
    /// `get`, `list`, `watch`, `create`…, or what a review asks about; empty for a method that means
    /// nothing here.
    pub verb: Text,
    /// Empty for core.
    pub group: String,
    /// `v1`
    pub version: String,
    /// Empty for cluster scope, or for a list across namespaces.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// Empty for collections.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// What follows the subresource: a path that is proxied.
    pub rest: String,
    /// Whether the path goes through a namespace to get there. `namespaces/NAME` does not, though its
    /// rights are looked for in the namespace that it is.
    pub within: bool,
}

impl ResourceRef {
    /// `statefulsets.apps`, or `pods` in the core group.
    pub fn group_resource(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// Whether it is of a subresource whose requests go on for as long as their clients like.
    #[must_use]
    pub fn is_long(&self) -> bool {
        LONG.contains(&self.subresource.as_str())
    }
}

/// What `method` on `path` with `query` is about.
#[must_use]
pub fn route(method: &Method, path: &str, query: &Query) -> Route {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(urls::decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Route::Path(path.to_owned()),
    };
    if rest.is_empty() {
        return Route::Path(path.to_owned());
    }
    // `…/watch/namespaces/x/pods`: how clients once said `?watch=1`.
    let (watches, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let mut resource = match rest {
        [NAMESPACES, name] | [NAMESPACES, name, "status" | "finalize"] if group.is_empty() => {
            namespace(name, rest.get(2).copied().unwrap_or_default())
        }
        rest => place(rest),
    };
    resource.group = group.to_owned();
    resource.version = version.to_owned();
    resource.verb = match watches {
        true if *method == Method::GET && resource.subresource.is_empty() => "watch".into(),
        true => "".into(),
        false => verb(method, &resource, query).into(),
    };
    Route::Resource(resource)
}

/// A namespace, or a part of one: whoever has rights in a namespace has them over it.
fn namespace(name: &str, subresource: &str) -> ResourceRef {
    ResourceRef {
        namespace: name.to_owned(),
        resource: NAMESPACES.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        ..ResourceRef::default()
    }
}

/// The part of the path after the version, of anything but a namespace of the core group.
fn place(segments: &[&str]) -> ResourceRef {
    let (namespace, within, segments) = match segments {
        [NAMESPACES, namespace, rest @ ..] if !rest.is_empty() => (*namespace, true, rest),
        _ => ("", false, segments),
    };
    let at = |index: usize| segments.get(index).copied().unwrap_or_default().to_owned();
    ResourceRef {
        namespace: namespace.to_owned(),
        resource: at(0),
        name: at(1),
        subresource: at(2),
        rest: segments.get(3..).unwrap_or_default().join("/"),
        within,
        ..ResourceRef::default()
    }
}

fn verb(method: &Method, resource: &ResourceRef, query: &Query) -> &'static str {
    let one = !resource.name.is_empty();
    let is_watch = resource.subresource.is_empty() && query.flag("watch");
    match *method {
        // An object or a list is read with GET alone; what is proxied decides for itself.
        Method::HEAD if resource.subresource != "proxy" => "",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        Method::GET | Method::HEAD if is_watch => "watch",
        Method::GET | Method::HEAD if one => "get",
        Method::GET | Method::HEAD => "list",
        // For whoever is behind the proxy to answer.
        Method::OPTIONS if resource.subresource == "proxy" => "get",
        // TRACE, OPTIONS and what else there may be: nobody may, and nothing answers.
        _ => "",
    }
}

impl ResourceRef {
    /// The row, and the verb that it has; 404 and 405 when it does not.
    ///
    /// # Errors
    /// 404 when there is no such resource, 405 when it does not answer to the verb.
    pub fn resolve(&self, kinds: &Kinds) -> Result<(std::sync::Arc<Kind>, Verb), Status> {
        let kind = kinds
            .resource(&self.group, &self.version, &self.resource)
            .ok_or_else(Status::no_such_path)?;
        let verb = Verb::ALL
            .iter()
            .copied()
            .find(|verb| verb.as_str() == self.verb)
            .ok_or_else(not_allowed)?;
        let verbs = match self.subresource.as_str() {
            "" => &kind.verbs,
            sub => {
                let row = Subresource::parse(sub).and_then(|sub| kind.subresource(sub));
                &row.ok_or_else(Status::no_such_path)?.verbs
            }
        };
        // A collection across namespaces can be read, not written; an object needs its namespace.
        let across = kind.is_namespaced() && self.namespace.is_empty();
        // What is authorised is what is touched: rights in a namespace reach nothing outside it.
        let misplaced = self.within && !kind.is_namespaced();
        let goes_on = !self.rest.is_empty() && self.subresource != "proxy";
        if misplaced || goes_on || (across && !self.name.is_empty()) {
            return Err(Status::no_such_path());
        }
        let reads_collection = matches!(verb, Verb::List | Verb::Watch);
        // An object is made in its collection, and changed under its name.
        let placed = match verb {
            Verb::Create => self.name.is_empty() || !self.subresource.is_empty(),
            Verb::Update | Verb::Patch => !self.name.is_empty(),
            _ => true,
        };
        let allowed = verbs.contains(&verb) && placed && (!across || reads_collection);
        if !allowed {
            return Err(not_allowed());
        }
        Ok((std::sync::Arc::clone(kind), verb))
    }

    /// The namespace of objects: a namespace is not in itself.
    #[must_use]
    pub fn object_namespace(&self, kind: &Kind) -> String {
        if kind.is_namespaced() { self.namespace.clone() } else { String::new() }
    }
}

fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status::failure(405, "MethodNotAllowed", message).with_details(|_| ())
}

/// The query of a URL, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (urls::decoded(&plus(key)), urls::decoded(&plus(value)))
                })
                .collect(),
        )
    }

    /// The first value of `key`; empty when it is not there.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    /// Every value of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// `key=true`, as Go reads it: present and neither `0` nor `false`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), "false" | "False" | "FALSE" | "0" | "f" | "F")
    }

    /// `key` as a number; 400 when it is none.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error: ParseIntError| {
                let why = match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": {why}"))
            }),
        }
    }
}

fn plus(text: &str) -> String {
    text.replace('+', " ")
}

#[cfg(test)]
mod tests {
    use coracle_api::Scope;

    use super::*;

    fn resource(method: Method, path: &str, query: &str) -> ResourceRef {
        match route(&method, path, &Query::parse(query)) {
            Route::Resource(resource) => resource,
            Route::Path(path) => panic!("{path}"),
        }
    }

    #[test]
    fn a_url_says_verb_and_place() {
        let check = |method: Method, url: &str, expected: [&str; 6]| {
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let it = resource(method, path, query);
            let found =
                [&*it.verb, &it.group, &it.namespace, &it.resource, &it.name, &it.subresource];
            assert_eq!(found, expected, "{url}");
        };
        check(Method::GET, "/api/v1/pods", ["list", "", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/pods?watch=1", ["watch", "", "", "pods", "", ""]);
        check(
            Method::PATCH,
            "/apis/apps/v1/namespaces/default/statefulsets/web/scale",
            ["patch", "apps", "default", "statefulsets", "web", "scale"],
        );
        check(Method::GET, "/api/v1/namespaces/x", ["get", "", "x", "namespaces", "x", ""]);
        check(
            Method::PUT,
            "/api/v1/namespaces/x/finalize",
            ["update", "", "x", "namespaces", "x", "finalize"],
        );
        check(
            Method::DELETE,
            "/api/v1/namespaces/x/pods",
            ["deletecollection", "", "x", "pods", "", ""],
        );
        check(Method::GET, "/api/v1/watch/namespaces/x/pods", ["watch", "", "x", "pods", "", ""]);
        check(Method::HEAD, "/api/v1/pods", ["", "", "", "pods", "", ""]);
        check(Method::POST, "/api/v1/nodes", ["create", "", "", "nodes", "", ""]);
        let proxied = resource(Method::GET, "/api/v1/namespaces/x/pods/web:80/proxy/a/b", "");
        assert_eq!((proxied.name.as_str(), proxied.rest.as_str()), ("web:80", "a/b"));
        let discovery = route(&Method::GET, "/apis/apps/v1", &Query::default());
        assert_eq!(discovery, Route::Path("/apis/apps/v1".into()));
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("labelSelector=a+in+%28b%2Cc%29&command=ls&command=-l&watch");
        assert_eq!(query.get("labelSelector"), "a in (b,c)");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l"]);
        assert!(query.flag("watch") && !query.flag("absent"));
        assert!(!Query::parse("watch=false").flag("watch"));
    }

    /// Every path form of a row: with and without namespace, with name, subresource and more.
    fn forms(kind: &Kind) -> Vec<String> {
        let root = match kind.group.is_empty() {
            true => format!("/api/{}", kind.version),
            false => format!("/apis/{}/{}", kind.group, kind.version),
        };
        let subs = kind.subresources.iter().map(|sub| sub.name.to_string());
        let subs: Vec<String> = subs.chain(["status".into(), "finalize".into()]).collect();
        let mut forms = Vec::new();
        for place in ["", "/namespaces/x", "/namespaces/x/namespaces/x", "/namespaces"] {
            let collection = format!("{root}{place}/{}", kind.plural);
            for name in ["", "/x", "/y"] {
                forms.push(format!("{collection}{name}"));
                for sub in &subs {
                    forms.push(format!("{collection}{name}/{sub}"));
                    forms.push(format!("{collection}{name}/{sub}/z"));
                }
            }
        }
        forms
    }

    /// Rights in one namespace were rights over every cluster-scoped object whose path was written
    /// below that namespace.
    #[test]
    fn what_is_authorised_is_what_is_touched() {
        let builtin = Kinds::builtin();
        let custom = |plural: &'static str, scope| {
            let kind = Kind::new("example.com", "v1", "Odd", plural, scope);
            Kind {
                subresources: builtin
                    .resource("", "v1", "namespaces")
                    .unwrap()
                    .subresources
                    .clone(),
                ..kind
            }
        };
        let kinds = builtin
            .with(vec![custom("namespaces", Scope::Cluster), custom("status", Scope::Namespaced)]);
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let mut touched = 0;
        for kind in kinds.iter() {
            for (form, method) in
                forms(kind).iter().flat_map(|form| methods.iter().map(move |m| (form, m)))
            {
                let asked = resource(method.clone(), form, "");
                let Ok((found, verb)) = asked.resolve(&kinds) else { continue };
                touched += 1;
                let (said, shown) = (&asked, format!("{method} {form}"));
                assert_eq!(
                    (&*found.group, &*found.plural),
                    (&*said.group, &*said.resource),
                    "{shown}"
                );
                assert_eq!(verb.as_str(), said.verb, "{shown}");
                let of_namespaces = found.group.is_empty() && found.plural == "namespaces";
                match found.scope {
                    Scope::Namespaced => assert_eq!(said.object_namespace(&found), said.namespace),
                    // Rights over a namespace are looked for in that namespace and in no other.
                    Scope::Cluster if of_namespaces => {
                        assert_eq!(said.namespace, said.name, "{shown}")
                    }
                    Scope::Cluster => assert_eq!(said.namespace, "", "{shown}"),
                }
                assert!(said.rest.is_empty() || said.subresource == "proxy", "{shown}");
            }
        }
        assert!(touched > 1000, "{touched}");
    }

    #[test]
    fn a_cluster_scoped_object_has_no_path_in_a_namespace() {
        let kinds = Kinds::builtin();
        for path in [
            "/api/v1/namespaces/x/namespaces",
            "/api/v1/namespaces/x/namespaces/x",
            "/api/v1/namespaces/x/namespaces/y",
            "/api/v1/namespaces/x/namespaces/y/status",
            "/api/v1/namespaces/x/nodes/n",
            "/api/v1/namespaces/y/status/x",
            "/api/v1/namespaces/x/pods/p/status/x",
        ] {
            let refused = resource(Method::GET, path, "").resolve(&kinds).unwrap_err();
            assert_eq!(refused.code, 404, "{path}");
        }
    }
}
