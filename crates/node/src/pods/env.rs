//! A container's environment.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::resources::{CONFIG_MAPS, SECRETS, SERVICES};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret, Service,
};

use super::{ContainerError, fields};

/// The namespace whose Service `kubernetes` everybody is told of.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// Variables in the order in which they were set; a later one replaces an earlier one in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Env {
    values: Vec<(String, String)>,
}

impl Env {
    pub fn set(&mut self, name: &str, value: String) {
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.values.push((name.to_owned(), value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `NAME=value`, over those of the `image`.
    pub fn lines_over(&self, image: &[String]) -> Vec<String> {
        let name_of = |line: &String| line.split('=').next().map(str::to_owned);
        let stays = |line: &&String| name_of(line).is_some_and(|name| self.get(&name).is_none());
        let own = self.values.iter().map(|(name, value)| format!("{name}={value}"));
        image.iter().filter(stays).cloned().chain(own).collect()
    }

    /// Replaces `$(NAME)` by the variable; `$$` is one dollar, and what is not known stays.
    pub fn expand(&self, text: &str) -> String {
        self.expanded(text, |name| {
            self.get(name).map_or_else(|| format!("$({name})"), str::to_owned)
        })
    }

    /// As [`Env::expand`], for a path: every variable must have a value.
    ///
    /// # Errors
    /// With the names of those that have none.
    pub fn expand_path(&self, text: &str) -> Result<String, ContainerError> {
        let mut missing = BTreeSet::new();
        let path = self.expanded(text, |name| {
            let value = self.get(name).unwrap_or_default();
            if value.is_empty() {
                missing.insert(name.to_owned());
            }
            value.to_owned()
        });
        if missing.is_empty() {
            return Ok(path);
        }
        let names = missing.into_iter().collect::<Vec<_>>().join(", ");
        Err(ContainerError::config(format!("missing value for {names}")))
    }

    fn expanded(&self, text: &str, mut value: impl FnMut(&str) -> String) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            expanded.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            rest = if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                after
            } else if let Some((name, after)) =
                after.strip_prefix('(').and_then(|after| after.split_once(')'))
            {
                expanded.push_str(&value(name));
                after
            } else {
                expanded.push('$');
                after
            };
        }
        expanded.push_str(rest);
        expanded
    }
}

/// The variables that a pod gives a container: Services', then `envFrom`, then `env`. Those of the
/// image are not among them: nothing in the pod can refer to them.
///
/// # Errors
/// When a ConfigMap, a Secret or a key is missing.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    snapshot: &Snapshot,
    allocatable: &fields::Allocatable,
) -> Result<Env, ContainerError> {
    let mut env = Env::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    for (name, value) in service_variables(snapshot, namespace, links) {
        env.set(&name, value);
    }
    let reader = Reader { pod, container, namespace, snapshot, allocatable };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(map) = &source.config_map_ref {
            let data = reader.config_map(&map.name, map.optional)?;
            data.into_iter().for_each(|(key, value)| env.set(&format!("{prefix}{key}"), value));
        }
        if let Some(secret) = &source.secret_ref {
            let data = reader.secret(&secret.name, secret.optional)?;
            data.into_iter().for_each(|(key, value)| env.set(&format!("{prefix}{key}"), value));
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = reader.value(variable, &env)? {
            env.set(&variable.name, value);
        }
    }
    Ok(env)
}

struct Reader<'a> {
    pod: &'a Pod,
    container: &'a Container,
    namespace: &'a str,
    snapshot: &'a Snapshot,
    allocatable: &'a fields::Allocatable,
}

impl Reader<'_> {
    fn config_map(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, String>, ContainerError> {
        let object = self.snapshot.find(CONFIG_MAPS, self.namespace, name);
        match object.and_then(|object| object.view::<ConfigMap>().ok()) {
            Some(map) => Ok(map.data.clone().unwrap_or_default()),
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => Err(ContainerError::config(format!("configmap \"{name}\" not found"))),
        }
    }

    fn secret(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, String>, ContainerError> {
        let object = self.snapshot.find(SECRETS, self.namespace, name);
        match object.and_then(|object| object.view::<Secret>().ok()) {
            Some(secret) => Ok(secret
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
                .collect()),
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => Err(ContainerError::config(format!("secret \"{name}\" not found"))),
        }
    }

    /// `None` when the value is optional and missing: the variable is then not set.
    fn value(&self, variable: &EnvVar, env: &Env) -> Result<Option<String>, ContainerError> {
        let Some(source) = &variable.value_from else {
            return Ok(Some(env.expand(variable.value.as_deref().unwrap_or_default())));
        };
        self.sourced(source)
    }

    fn sourced(&self, source: &EnvVarSource) -> Result<Option<String>, ContainerError> {
        let field = |error: fields::FieldError| ContainerError::config(error.to_string());
        if let Some(reference) = &source.field_ref {
            return fields::pod_field(self.pod, &reference.field_path).map(Some).map_err(field);
        }
        if let Some(reference) = &source.resource_field_ref {
            let other = reference.container_name.as_deref().unwrap_or_default();
            let containers = super::containers(self.pod);
            let named = containers.into_iter().find(|it| it.name == other);
            let container = named.unwrap_or(self.container);
            let value = fields::resource_field(container, reference, self.allocatable);
            return value.map(Some).map_err(field);
        }
        let (kind, name, key, optional, data) = if let Some(map) = &source.config_map_key_ref {
            let data = self.config_map(&map.name, map.optional)?;
            ("ConfigMap", &map.name, &map.key, map.optional, data)
        } else if let Some(secret) = &source.secret_key_ref {
            let data = self.secret(&secret.name, secret.optional)?;
            ("Secret", &secret.name, &secret.key, secret.optional, data)
        } else {
            return Ok(Some(String::new()));
        };
        match data.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None if optional == Some(true) => Ok(None),
            None => {
                let namespace = self.namespace;
                let message = format!("couldn't find key {key} in {kind} {namespace}/{name}");
                Err(ContainerError::config(message))
            }
        }
    }
}

/// What Docker links once were: where the Services of the namespace are, and always the API.
fn service_variables(snapshot: &Snapshot, namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let master = snapshot.find(SERVICES, MASTER.0, MASTER.1);
    let own = links.then(|| snapshot.list(SERVICES, Some(namespace))).into_iter().flatten();
    for object in master.into_iter().chain(own) {
        if let Ok(service) = object.view::<Service>() {
            variables_of(&service, &mut variables);
        }
    }
    variables
}

fn variables_of(service: &Service, variables: &mut Vec<(String, String)>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (Some(ip), Some(first)) = (ip, ports.first()) else { return };
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let name = name.to_uppercase().replace('-', "_");
    let mut add =
        |suffix: String, value: String| variables.push((format!("{name}_{suffix}"), value));
    add("SERVICE_HOST".to_owned(), ip.to_owned());
    add("SERVICE_PORT".to_owned(), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            add(format!("SERVICE_PORT_{port_name}"), port.port.to_string());
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            add("PORT".to_owned(), url.clone());
        }
        let prefix = format!("PORT_{}_{protocol}", port.port);
        add(prefix.clone(), url);
        add(format!("{prefix}_PROTO"), protocol.to_lowercase());
        add(format!("{prefix}_PORT"), port.port.to_string());
        add(format!("{prefix}_ADDR"), ip.to_owned());
    }
}
