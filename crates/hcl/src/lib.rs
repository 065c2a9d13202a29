//! A parser for the HCL 1 subset and the JSON that Vault accepts.
