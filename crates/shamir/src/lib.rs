//! Shamir secret sharing over GF(256): split and combine.
