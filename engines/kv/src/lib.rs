//! The kv secret engine, versions 1 and 2.
