//! Which volumes are ours, and what the node calls them.
//!
//! A volume of the class `standard` names its data and says nothing of where it is: a data
//! directory that was moved or copied has volumes of its own.

use std::path::Path;

use coracle_api::Object;
use serde_json::{Value, json};

use super::{PROVISIONED_BY, PROVISIONER_NAME};

/// The source of a volume whose data has this name.
pub(super) fn source(name: &str) -> Value {
    json!({"driver": PROVISIONER_NAME, "volumeHandle": name})
}

/// Under which name the node keeps the data of a volume of ours; `None` when the volume is not ours,
/// or has a name that no directory can have.
pub fn local_name(volume: &Object) -> Option<&str> {
    let by = volume.metadata().annotations.get(PROVISIONED_BY);
    let name = if volume.str_at("/spec/csi/driver") == Some(PROVISIONER_NAME) {
        volume.str_at("/spec/csi/volumeHandle")
    } else if by.is_some_and(|by| by == PROVISIONER_NAME) {
        // Version 0.1 wrote the directory: where it was then must not be where it is now.
        let path = volume.str_at("/spec/hostPath/path").or(volume.str_at("/spec/local/path"))?;
        Path::new(path).file_name().and_then(|name| name.to_str())
    } else {
        None
    };
    name.filter(|name| is_plain(name))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_ours_has_a_name_and_no_place() {
        let ours = json!({PROVISIONED_BY: PROVISIONER_NAME});
        let handle =
            |name: &str| json!({"csi": {"driver": PROVISIONER_NAME, "volumeHandle": name}});
        for (annotations, source, name) in [
            (json!({}), handle("pvc-1"), Some("pvc-1")),
            (json!({}), handle("../../etc"), None),
            (json!({}), handle(".."), None),
            (json!({}), handle(""), None),
            (json!({}), json!({"csi": {"driver": "x", "volumeHandle": "pvc-1"}}), None),
            (ours.clone(), json!({"hostPath": {"path": "/old/volumes/pvc-1"}}), Some("pvc-1")),
            (ours.clone(), json!({"hostPath": {"path": "/old/volumes/.."}}), None),
            (json!({}), json!({"hostPath": {"path": "/old/volumes/pvc-1"}}), None),
        ] {
            let value =
                json!({"metadata": {"name": "v", "annotations": annotations}, "spec": source});
            let volume = Object::with_resource("persistentvolumes", value.clone()).unwrap();
            assert_eq!(local_name(&volume), name, "{value}");
        }
    }
}
