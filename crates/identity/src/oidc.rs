//! Identity tokens: JWTs (RFC 7519) that say who holds a token of this server, signed by named keys whose public halves
//! anybody may read (Vault API: `identity/oidc`). The OpenID Connect provider (authorize, token, userinfo) will stand
//! beside them on the same keys.
//!
//! | key | value |
//! |---|---|
//! | `oidc/config` | [`config::Config`] |
//! | `oidc/key/<name>` | [`key::Key`]: settings and public halves |
//! | `oidc/private/<kid>` | PKCS #8 of a key that signs now or next; gone when it is retired |
//! | `oidc/role/<name>` | [`role::Role`] |

mod claims;
mod config;
mod introspect;
mod key;
mod public;
mod role;
mod rotate;
mod signing;
mod token;

fn key_path(name: &str) -> String {
    format!("oidc/key/{name}")
}

fn private_path(kid: &str) -> String {
    format!("oidc/private/{kid}")
}

fn role_path(name: &str) -> String {
    format!("oidc/role/{name}")
}
