//! rbac.authorization.k8s.io/v1.

use super::row::{Row as _, cluster, namespaced, version};
use crate::kind::{Kind, NameRule};
use crate::print::columns::{AGE, NAME, text, wide};
use crate::print::{Cell, cluster};
use crate::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.rbac.v1",
        [cluster_role_bindings(), cluster_roles(), role_bindings(), roles()],
    )
}

fn cluster_role_bindings() -> Kind {
    binding(cluster("ClusterRoleBinding", CLUSTER_ROLE_BINDINGS))
        .validate(validation::cluster_role_binding)
}

fn cluster_roles() -> Kind {
    cluster("ClusterRole", CLUSTER_ROLES)
        .put_creates()
        .names(NameRule::PathSegment)
        .validate(validation::cluster_role)
}

fn role_bindings() -> Kind {
    binding(namespaced("RoleBinding", ROLE_BINDINGS)).validate(validation::role_binding)
}

fn roles() -> Kind {
    namespaced("Role", ROLES).put_creates().names(NameRule::PathSegment).validate(validation::role)
}

fn binding(kind: Kind) -> Kind {
    kind.put_creates()
        .names(NameRule::PathSegment)
        .defaults(defaults::role_binding)
        .validate_update(validation::role_binding_update)
        .columns(
            const {
                &[
                    NAME,
                    text("Role", Cell::Code(cluster::role)),
                    AGE,
                    wide(text("Users", Cell::Code(cluster::users))),
                    wide(text("Groups", Cell::Code(cluster::groups))),
                    wide(text("ServiceAccounts", Cell::Code(cluster::service_accounts))),
                ]
            },
        )
}
