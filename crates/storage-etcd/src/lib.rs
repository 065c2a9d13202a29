//! Storage on etcd v3.
