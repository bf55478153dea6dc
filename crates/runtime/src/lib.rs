//! Processes, namespaces, mounts, cgroups and the shim that is the parent of a pod's containers.
