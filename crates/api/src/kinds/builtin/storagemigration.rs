//! storagemigration.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::resources::STORAGE_VERSION_MIGRATIONS;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.storagemigration.v1", [storage_version_migrations()])
}

fn storage_version_migrations() -> Kind {
    cluster("StorageVersionMigration", STORAGE_VERSION_MIGRATIONS).status().guarded()
}
