//! The table of controllers.

use crate::Controller;

/// Every controller of the engine, in no particular order.
pub const CONTROLLERS: &[Controller] = &[
    crate::statefulset::CONTROLLER,
    crate::scheduler::CONTROLLER,
    crate::volumes::BINDER,
    crate::volumes::PROVISIONER,
    crate::volumes::EXPANDER,
    crate::volumes::CLAIM_PROTECTOR,
    crate::volumes::VOLUME_PROTECTOR,
    crate::volumes::ATTRIBUTES_PROTECTOR,
    crate::namespaced::SERVICE_ACCOUNTS,
    crate::namespaced::ROOT_CAS,
    crate::endpoints::ENDPOINTS,
    crate::endpoints::ENDPOINT_SLICES,
    crate::endpoints::ENDPOINT_MIRROR,
    crate::load_balancer::CONTROLLER,
    crate::garbage::CONTROLLER,
    crate::namespaces::CONTROLLER,
    crate::definitions::CONTROLLER,
    crate::disruption::CONTROLLER,
    crate::nodes::NODE_LIFECYCLE,
    crate::nodes::POD_GC,
    crate::taints::CONTROLLER,
    crate::event_expiry::CONTROLLER,
    crate::event_expiry::QUOTA,
    crate::bootstrap::CONTROLLER,
    crate::roles::CONTROLLER,
    crate::quota::CONTROLLER,
];
