//! Storage in one local file (redb).
