//! The kubelet: pod planner (pure), pod worker, probes, volumes, images, logs, exec.
