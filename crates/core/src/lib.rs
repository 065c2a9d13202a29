//! The request pipeline, mounts, tokens, leases and the sys paths.
