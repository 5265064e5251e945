//! The log: commit, inbox, parked keys, timers, leases, documents, snapshots.
