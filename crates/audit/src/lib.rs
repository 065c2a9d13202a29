//! Audit entries, keyed hashing, sinks and the broker that fails closed.
