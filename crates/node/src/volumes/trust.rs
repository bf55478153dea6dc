//! What projected volumes take from ClusterTrustBundles: pure.

use std::collections::BTreeSet;

use coracle_api::resources::CLUSTER_TRUST_BUNDLES;
use coracle_api::{Object, Selector, certificates};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;

use super::VolumeError;

/// The certificates that the source names, as PEM: each once, in an order that only they decide.
///
/// # Errors
/// [`VolumeError::Missing`] when there are none and they are not optional.
pub(super) fn anchors(
    snapshot: &Snapshot,
    source: &ClusterTrustBundleProjection,
) -> Result<Vec<u8>, VolumeError> {
    let optional = source.optional == Some(true);
    let missing =
        |why: String| if optional { Ok(Vec::new()) } else { Err(VolumeError::Missing(why)) };
    if let Some(name) = source.name.as_deref() {
        return match snapshot.find(CLUSTER_TRUST_BUNDLES, "", name) {
            Some(bundle) => Ok(merged([&**bundle])),
            None => missing(format!("{CLUSTER_TRUST_BUNDLES} \"{name}\" not found")),
        };
    }
    let signer = source.signer_name.as_deref().unwrap_or_default();
    // Without a selector none is meant, with an empty one all.
    let selector = Selector::from_typed(source.label_selector.as_ref());
    let selector = selector.map_err(|error| VolumeError::Unsupported(error.to_string()))?;
    let is_meant = |bundle: &&Object| {
        bundle.str_at("/spec/signerName") == Some(signer)
            && selector.matches(&bundle.metadata().labels)
    };
    let bundles = snapshot.list(CLUSTER_TRUST_BUNDLES, None).map(|it| &**it);
    let bundles: Vec<_> = bundles.filter(is_meant).collect();
    match bundles.is_empty() {
        true => missing(format!(
            "combination of signerName {signer:?} and labelSelector matched zero ClusterTrustBundles"
        )),
        false => Ok(merged(bundles)),
    }
}

fn merged<'a>(bundles: impl IntoIterator<Item = &'a Object>) -> Vec<u8> {
    let mut found = BTreeSet::new();
    for bundle in bundles {
        let text = bundle.str_at("/spec/trustBundle").unwrap_or_default();
        let blocks = certificates::pem_blocks(text, certificates::CERTIFICATE);
        found.extend(blocks.iter().map(|der| certificates::to_pem(der, certificates::CERTIFICATE)));
    }
    found.into_iter().collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bundle(name: &str, signer: Option<&str>, labels: &Value, certificates: &[&[u8]]) -> Object {
        let pem = certificates.iter().map(|der| certificates::to_pem(der, "CERTIFICATE"));
        let mut spec = json!({"trustBundle": format!("# words\n{}", pem.collect::<String>())});
        if let Some(signer) = signer {
            spec["signerName"] = signer.into();
        }
        let metadata = json!({"name": name, "labels": labels});
        let object = json!({"metadata": metadata, "spec": spec});
        Object::with_resource(CLUSTER_TRUST_BUNDLES, object).unwrap()
    }

    fn pem(certificates: &[&[u8]]) -> String {
        certificates.iter().map(|der| certificates::to_pem(der, "CERTIFICATE")).collect()
    }

    fn found(source: Value) -> Result<String, String> {
        let snapshot = Snapshot::of([
            bundle("plain", None, &json!({}), &[b"b", b"a", b"b"]),
            bundle("x:s:one", Some("x/s"), &json!({"live": "yes"}), &[b"c"]),
            bundle("x:s:two", Some("x/s"), &json!({"live": "no"}), &[b"a", b"c"]),
            bundle("y:s:one", Some("y/s"), &json!({"live": "yes"}), &[b"d"]),
        ]);
        let source: ClusterTrustBundleProjection = serde_json::from_value(source).unwrap();
        let bytes = anchors(&snapshot.unwrap(), &source).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn bundles_are_found_by_name_and_by_signer() {
        let by_name = |name: &str| found(json!({"path": "ca", "name": name}));
        assert_eq!(by_name("plain").unwrap(), pem(&[b"a", b"b"]));
        assert!(by_name("other").unwrap_err().contains("\"other\" not found"));
        let by_signer = |selector: Value| {
            found(json!({"path": "ca", "signerName": "x/s", "labelSelector": selector}))
        };
        assert_eq!(by_signer(json!({})).unwrap(), pem(&[b"a", b"c"]));
        assert_eq!(by_signer(json!({"matchLabels": {"live": "yes"}})).unwrap(), pem(&[b"c"]));
        let none = by_signer(Value::Null).unwrap_err();
        assert!(none.contains("matched zero ClusterTrustBundles"), "{none}");
        let optional =
            json!({"path": "ca", "signerName": "z/s", "labelSelector": {}, "optional": true});
        assert_eq!(found(optional).unwrap(), "");
    }
}
