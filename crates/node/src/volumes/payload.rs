//! The files of volumes that are made from objects: pure.

use std::collections::BTreeMap;

use coracle_api::resources::{CONFIG_MAPS, SECRETS};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    ServiceAccountTokenProjection, Volume,
};

use super::{VolumeError, trust};
use crate::pods::fields;

/// Mode of files when nobody says otherwise.
const DEFAULT_MODE: i32 = 0o644;

/// A file.
#[derive(Debug, PartialEq)]
pub(crate) struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Root when nobody is named.
    pub owner: Option<u32>,
}

impl File {
    fn new(content: Vec<u8>, mode: i32) -> Self {
        Self { content, mode: mode_of(mode), owner: None }
    }
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// A token that the volume needs: which, and in which file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenFile {
    pub path: String,
    pub mode: u32,
    pub audience: String,
    pub expiration_seconds: i64,
}

/// What a volume holds: files, and tokens still to be asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub files: Payload,
    pub tokens: Vec<TokenFile>,
    /// Certificates: for whom tokens are, where that is known.
    pub anchors: Payload,
}

/// The content of `volume`; `None` when it is not made from objects.
///
/// # Errors
/// [`VolumeError::Missing`] when an object or a key is not there and not optional.
pub(crate) fn contents(
    pod: &Pod,
    volume: &Volume,
    snapshot: &Snapshot,
    allocatable: &fields::Allocatable,
) -> Result<Option<Contents>, VolumeError> {
    let mut contents = Contents::default();
    let reader = Reader { pod, snapshot, allocatable };
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let items = source.items.as_deref();
        reader.config_map(&source.name, items, mode, optional, &mut contents.files)?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let items = source.items.as_deref();
        reader.secret(name, items, mode, optional, &mut contents.files)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        reader.downward(source.items.as_deref(), mode, &mut contents.files)?;
    } else if let Some(source) = &volume.projected {
        reader.projected(source, &mut contents)?;
    } else {
        return Ok(None);
    }
    Ok(Some(contents))
}

struct Reader<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
    allocatable: &'a fields::Allocatable,
}

fn mode_of(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o777
}

impl Reader<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: i32,
        optional: bool,
        files: &mut Payload,
    ) -> Result<(), VolumeError> {
        let object = self.snapshot.find(CONFIG_MAPS, self.namespace(), name);
        let Some(map) = object.and_then(|object| object.view::<ConfigMap>().ok()) else {
            return missing(optional, format!("configmap \"{name}\" not found"));
        };
        let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
        let data = text.chain(binary).collect();
        select(data, items, mode, optional, files)
            .map_err(|key| absent(&key, "configmap", self.namespace(), name))
    }

    fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: i32,
        optional: bool,
        files: &mut Payload,
    ) -> Result<(), VolumeError> {
        let object = self.snapshot.find(SECRETS, self.namespace(), name);
        let Some(secret) = object.and_then(|object| object.view::<Secret>().ok()) else {
            return missing(optional, format!("secret \"{name}\" not found"));
        };
        let data = secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
        select(data, items, mode, optional, files)
            .map_err(|key| absent(&key, "secret", self.namespace(), name))
    }

    fn downward(
        &self,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: i32,
        files: &mut Payload,
    ) -> Result<(), VolumeError> {
        for item in items.into_iter().flatten() {
            let value = if let Some(field) = &item.field_ref {
                fields::pod_field(self.pod, &field.field_path)
                    .map_err(|error| VolumeError::Unsupported(error.to_string()))?
            } else if let Some(resource) = &item.resource_field_ref {
                let name = resource.container_name.as_deref().unwrap_or_default();
                let containers = crate::pods::containers(self.pod);
                let container = containers.into_iter().find(|it| it.name == name);
                let container = container.ok_or_else(|| {
                    VolumeError::Unsupported(format!("container {name} not found"))
                })?;
                fields::resource_field(container, resource, self.allocatable)
                    .map_err(|error| VolumeError::Unsupported(error.to_string()))?
            } else {
                String::new()
            };
            let file = File::new(value.into_bytes(), item.mode.unwrap_or(mode));
            files.insert(item.path.clone(), file);
        }
        Ok(())
    }

    fn projected(
        &self,
        source: &ProjectedVolumeSource,
        contents: &mut Contents,
    ) -> Result<(), VolumeError> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for source in source.sources.iter().flatten() {
            let files = &mut contents.files;
            if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                self.config_map(&map.name, map.items.as_deref(), mode, optional, files)?;
            }
            if let Some(secret) = &source.secret {
                let optional = secret.optional == Some(true);
                self.secret(&secret.name, secret.items.as_deref(), mode, optional, files)?;
            }
            if let Some(downward) = &source.downward_api {
                self.downward(downward.items.as_deref(), mode, files)?;
            }
            if let Some(token) = &source.service_account_token {
                contents.tokens.push(token_file(token, mode));
            }
            if let Some(bundle) = &source.cluster_trust_bundle {
                let file = File::new(trust::anchors(self.snapshot, bundle)?, mode);
                contents.anchors.insert(bundle.path.clone(), file);
            }
            if source.pod_certificate.is_some() {
                let why = "pod certificates are not projected";
                return Err(VolumeError::Unsupported(why.to_owned()));
            }
        }
        Ok(())
    }
}

pub(crate) fn token_file(token: &ServiceAccountTokenProjection, mode: i32) -> TokenFile {
    TokenFile {
        path: token.path.clone(),
        mode: mode_of(mode),
        audience: token.audience.clone().unwrap_or_default(),
        expiration_seconds: token.expiration_seconds.unwrap_or(3600),
    }
}

fn missing(optional: bool, message: String) -> Result<(), VolumeError> {
    if optional { Ok(()) } else { Err(VolumeError::Missing(message)) }
}

fn absent(key: &str, kind: &str, namespace: &str, name: &str) -> VolumeError {
    VolumeError::Missing(format!(
        "{kind} references non-existent {kind} key: {key} (in {namespace}/{name})"
    ))
}

/// All keys, or those that `items` name; `Err` is the key that is not there.
fn select(
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    files: &mut Payload,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(data.into_iter().map(|(key, value)| (key, File::new(value, mode))));
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(value) => {
                data.insert(item.key.clone(), value.clone());
                let file = File::new(value, item.mode.unwrap_or(mode));
                files.insert(item.path.clone(), file);
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(())
}
