//! How the root key is kept: the Seal trait, Shamir shares, a static key.
