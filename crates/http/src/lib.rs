//! The HTTP listener: bytes to requests of the core, answers to bytes, one status table.
