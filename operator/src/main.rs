//! Reconciles SecretEngine, VaultPolicy and DynamicCredential objects.

fn main() {}
