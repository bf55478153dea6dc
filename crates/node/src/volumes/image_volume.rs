//! Images as volumes: their layers, to be read and nothing else. A pod keeps the one that it has.

use std::fs;

use super::{Places, VolumeError, failed, mount_table};
use crate::images::Image;

/// Mounts the image as a volume of the pod, if none is yet. Blocks.
///
/// # Errors
/// When the machine refuses, or a layer has gone.
pub(crate) fn mount(
    places: &Places,
    uid: &str,
    volume: &str,
    image: &Image,
) -> Result<(), VolumeError> {
    let (root, id) = places.image(uid, volume);
    fs::create_dir_all(&root).map_err(failed("create", &root))?;
    if mount_table::is_mounted(&root)? {
        return Ok(());
    }
    // Whoever removes images looks here before it is mounted, and after.
    fs::write(&id, &image.id).map_err(failed("write", &id))?;
    coracle_runtime::mount_image(&image.layers, &root).map_err(failed("mount", &root))
}

/// The ID of the image that is the pod's volume.
pub(crate) fn mounted(places: &Places, uid: &str, volume: &str) -> Option<String> {
    fs::read_to_string(places.image(uid, volume).1).ok()
}
