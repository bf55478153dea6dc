//! Revisions, transactions, snapshots, watch and durability over a disk.
