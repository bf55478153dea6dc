//! storage.k8s.io/v1.

use super::row::{Row as _, cluster, namespaced, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, count, flag, formatted, text};
use crate::print::{Cell, storage};
use crate::resources::{
    CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, STORAGE_CLASSES, VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
};
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.storage.v1",
        [
            csi_drivers(),
            csi_nodes(),
            csi_storage_capacities(),
            storage_classes(),
            volume_attachments(),
            volume_attributes_classes(),
        ],
    )
}

fn csi_drivers() -> Kind {
    cluster("CSIDriver", CSI_DRIVERS)
        .answers_with_object()
        .counted()
        .defaults(defaults::csi_driver)
        .validate(validation::csi_driver)
        .validate_update(validation::csi_driver_update)
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    flag("AttachRequired", "/spec/attachRequired", true),
                    flag("PodInfoOnMount", "/spec/podInfoOnMount", false),
                    flag("StorageCapacity", "/spec/storageCapacity", false),
                    text("TokenRequests", Cell::Code(storage::token_audiences)),
                    flag("RequiresRepublish", "/spec/requiresRepublish", false),
                    text("Modes", Cell::Code(storage::driver_modes)),
                    AGE,
                ]
            },
        )
}

fn csi_nodes() -> Kind {
    cluster("CSINode", CSI_NODES)
        .validate(validation::csi_node)
        .validate_update(validation::csi_node_update)
        .answers_with_object()
        .guarded()
        .columns(const { &[NAME, count("Drivers", "/spec/drivers"), AGE] })
}

fn csi_storage_capacities() -> Kind {
    namespaced("CSIStorageCapacity", CSI_STORAGE_CAPACITIES).validate(validation::csi_storage_capacity).validate_update(validation::csi_storage_capacity_update).guarded().columns(
        const { &[NAME, at("StorageClassName", "/storageClassName"), at("Capacity", "/capacity")] },
    )
}

fn storage_classes() -> Kind {
    cluster("StorageClass", STORAGE_CLASSES)
        .answers_with_object()
        .short(&["sc"])
        .defaults(defaults::storage_class)
        .validate(validation::storage_class)
        .validate_update(validation::storage_class_update)
        .columns(
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(storage::class_name)),
                    at("Provisioner", "/provisioner"),
                    text("ReclaimPolicy", Cell::Text("/reclaimPolicy", "Delete")),
                    text("VolumeBindingMode", Cell::Text("/volumeBindingMode", "Immediate")),
                    text("AllowVolumeExpansion", Cell::Flag("/allowVolumeExpansion", false)),
                    AGE,
                ]
            },
        )
}

fn volume_attachments() -> Kind {
    cluster("VolumeAttachment", VOLUME_ATTACHMENTS)
        .validate(validation::volume_attachment)
        .validate_update(validation::volume_attachment_update)
        .answers_with_object()
        .status()
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    formatted("Attacher", "string", "name", Cell::Text("/spec/attacher", "")),
                    at("PV", "/spec/source/persistentVolumeName"),
                    at("Node", "/spec/nodeName"),
                    flag("Attached", "/status/attached", false),
                    AGE,
                ]
            },
        )
}

fn volume_attributes_classes() -> Kind {
    cluster("VolumeAttributesClass", VOLUME_ATTRIBUTES_CLASSES)
        .validate(validation::volume_attributes_class)
        .validate_update(validation::volume_attributes_class_update)
        .answers_with_object()
        .short(&["vac"])
        .columns(
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(storage::class_name)),
                    at("DriverName", "/driverName"),
                    AGE,
                ]
            },
        )
}
