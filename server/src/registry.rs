//! The one list of secret engines and auth methods of this build.

use holdfast_core::{Class, Registry};

/// Every plug-in, by the type name that `sys/mounts` and `sys/auth` take.
pub fn registry() -> Registry {
    Registry::new()
        .with(Class::Secret, "kv", holdfast_engine_kv::factory)
        .with(Class::Secret, "generic", holdfast_engine_kv::factory)
        .with(Class::Secret, "database", holdfast_engine_database::factory)
        .with_database("postgresql-database-plugin")
        .with(Class::Auth, "approle", holdfast_auth_approle::factory)
        .with(Class::Auth, "cert", holdfast_auth_cert::factory)
        .with(Class::Auth, "jwt", holdfast_auth_jwt::factory)
        .with(Class::Auth, "oidc", holdfast_auth_jwt::factory)
        .with(Class::Auth, "kubernetes", holdfast_auth_kubernetes::factory)
        .with(Class::Auth, "userpass", holdfast_auth_userpass::factory)
}
