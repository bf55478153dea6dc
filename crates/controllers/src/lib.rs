//! Every decision of the control plane: pure functions from a snapshot to a plan.
