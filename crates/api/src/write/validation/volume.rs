//! Volumes of pods.

use std::collections::{BTreeMap, BTreeSet};

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, dns_label, quantity, unreserved_path};
use super::references::{field_reference, resource_reference};
use super::sources::{host_path, nfs};
use super::storage;
use crate::names;

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// What files of the downward API may show beside resources.
const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Whether a volume's content is claimed.
pub(super) fn is_claim(volume: &Field<'_>) -> bool {
    volume.child("persistentVolumeClaim").is_set() || volume.child("ephemeral").is_set()
}

/// `spec.volumes`; answers with them by name.
pub(super) fn all<'a>(
    errors: &mut Errors,
    list: &Field<'a>,
    pod_name: &str,
) -> BTreeMap<&'a str, Field<'a>> {
    let (mut names, mut volumes) = (Unique::new(), BTreeMap::new());
    for volume in list.items() {
        let name = volume.child("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            dns_label(errors, &name);
            names.check(errors, &name);
        }
        source(errors, &volume, pod_name);
        volumes.insert(name.text(), volume);
    }
    volumes
}

fn source(errors: &mut Errors, volume: &Field<'_>, pod_name: &str) {
    let mut found = false;
    for (name, _) in volume.members().filter(|(name, _)| *name != "name") {
        let source = volume.child(name);
        if !source.is_set() {
            continue;
        }
        if found {
            errors.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        match name {
            "emptyDir" => empty_dir(errors, &source),
            "hostPath" => host_path(errors, &source),
            "secret" => files(errors, &source, "secretName"),
            "configMap" => files(errors, &source, "name"),
            "persistentVolumeClaim" => errors.require_text(&source.child("claimName")),
            "downwardAPI" => downward(errors, &source),
            "projected" => projected(errors, &source),
            "ephemeral" => ephemeral(errors, &source, &volume.child("name"), pod_name),
            "image" => image(errors, &source),
            "nfs" => nfs(errors, &source),
            "csi" => errors.require_text(&source.child("driver")),
            _ => {}
        }
    }
    if !found {
        errors.required(volume, "must specify a volume type");
    }
}

fn empty_dir(errors: &mut Errors, source: &Field<'_>) {
    let limit = source.child("sizeLimit");
    if limit.is_set() && quantity(&limit).signum() < 0 {
        errors.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
    }
}

fn image(errors: &mut Errors, source: &Field<'_>) {
    errors.require_text(&source.child("reference"));
    errors.one_of(&source.child("pullPolicy"), &["Always", "IfNotPresent", "Never"]);
}

fn ephemeral(errors: &mut Errors, source: &Field<'_>, name: &Field<'_>, pod_name: &str) {
    let template = source.child("volumeClaimTemplate");
    if !template.is_set() {
        errors.required(&template, "");
        return;
    }
    storage::claim_spec(errors, &template.child("spec"));
    if !pod_name.is_empty() && !name.is_empty() {
        let claim = format!("{pod_name}-{}", name.text());
        let field = source.child("name");
        for sentence in names::dns1123_subdomain(&claim) {
            errors.invalid_as(&field, name.value, &format!("PVC name {claim:?}: {sentence}"));
        }
    }
}

fn mode(errors: &mut Errors, field: &Field<'_>) {
    if field.is_set() && !(0..=0o777).contains(&field.int()) {
        errors.invalid(field, FILE_MODE);
    }
}

/// A Secret or ConfigMap as files; `name` is the field with its name.
fn files(errors: &mut Errors, source: &Field<'_>, name: &str) {
    errors.require_text(&source.child(name));
    mode(errors, &source.child("defaultMode"));
    items(errors, source);
}

fn items(errors: &mut Errors, source: &Field<'_>) {
    for item in source.child("items").items() {
        errors.require_text(&item.child("key"));
        let path = item.child("path");
        errors.require_text(&path);
        unreserved_path(errors, &path);
        mode(errors, &item.child("mode"));
    }
}

fn downward(errors: &mut Errors, source: &Field<'_>) {
    mode(errors, &source.child("defaultMode"));
    source.child("items").items().for_each(|file| downward_file(errors, &file));
}

fn downward_file(errors: &mut Errors, file: &Field<'_>) {
    let path = file.child("path");
    errors.require_text(&path);
    unreserved_path(errors, &path);
    let (field, resource) = (file.child("fieldRef"), file.child("resourceFieldRef"));
    if field.is_set() {
        field_reference(errors, &field, &FILE_FIELDS);
        if resource.is_set() {
            errors.invalid_as(
                file,
                &"resource".into(),
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if resource.is_set() {
        resource_reference(errors, &resource, true);
    } else {
        errors.required(file, "one of fieldRef and resourceFieldRef is required");
    }
    mode(errors, &file.child("mode"));
}

fn projected(errors: &mut Errors, source: &Field<'_>) {
    mode(errors, &source.child("defaultMode"));
    let mut paths = BTreeSet::new();
    for projection in source.child("sources").items() {
        let mut found = false;
        for (name, _) in projection.members() {
            let part = projection.child(name);
            if found && part.is_set() {
                let detail = "may not specify more than 1 volume type per source";
                errors.forbidden(&part, detail);
            }
            found |= part.is_set();
            match name {
                "secret" | "configMap" => {
                    errors.require_text(&part.child("name"));
                    items(errors, &part);
                }
                "downwardAPI" => {
                    part.child("items").items().for_each(|file| downward_file(errors, &file));
                }
                "serviceAccountToken" => token(errors, &part),
                "clusterTrustBundle" if part.is_set() => {
                    trust_bundle(errors, &part);
                    let path = part.child("path");
                    if !path.is_empty() && !paths.insert(path.text()) {
                        let named = part.child("name");
                        let shown = if named.is_empty() { path.value } else { named.value };
                        errors.invalid_as(source, shown, "conflicting duplicate paths");
                    }
                }
                _ => {}
            }
            for path in part.child("items").items().map(|item| item.child("path")) {
                if !path.is_empty() && !paths.insert(path.text()) {
                    let named = part.child("name");
                    let shown = if named.is_empty() { path.value } else { named.value };
                    errors.invalid_as(source, shown, "conflicting duplicate paths");
                }
            }
        }
    }
}

/// Certificates of one bundle, or of all of a signer that have certain labels.
fn trust_bundle(errors: &mut Errors, bundle: &Field<'_>) {
    let [name, signer, selector, path] =
        ["name", "signerName", "labelSelector", "path"].map(|field| bundle.child(field));
    match (name.is_set(), signer.is_set()) {
        (true, true) => errors.invalid(bundle, "only one of name and signerName may be used"),
        (true, false) => {
            if name.is_empty() {
                errors.required(&name, "must be a valid object name");
            }
            if selector.is_set() {
                errors.invalid(&selector, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                errors.required(&signer, "must be a valid signer name");
            }
            parts::selector(errors, &selector);
        }
        (false, false) => errors.required(bundle, "either name or signerName must be specified"),
    }
    if path.is_empty() {
        errors.required(&path, "");
    } else {
        unreserved_path(errors, &path);
    }
}

fn token(errors: &mut Errors, token: &Field<'_>) {
    let seconds = token.child("expirationSeconds");
    if seconds.int() < 600 {
        errors.invalid(&seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds.int() > 1 << 32 {
        errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let path = token.child("path");
    if path.is_empty() {
        errors.required(&path, "");
    } else {
        unreserved_path(errors, &path);
    }
}
