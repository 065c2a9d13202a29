//! Where etcd is and how to prove who we are.

use holdfast_secret::SecretString;

/// How to reach an etcd cluster.
#[derive(Debug, Default)]
pub struct Config {
    /// `https://host:2379`, or `http://…`; at least one.
    pub endpoints: Vec<String>,
    /// PEM of the authorities that etcd's certificates are from. Needed with `https`.
    pub ca_pem: Option<String>,
    /// PEM of the client certificate (chain).
    pub cert_pem: Option<String>,
    /// PEM of its key.
    pub key_pem: Option<SecretString>,
    /// Name to expect in etcd's certificates, if not the host of the endpoint.
    pub server_name: Option<String>,
    /// What all keys start with; empty if etcd is ours alone.
    pub prefix: String,
    /// User of etcd's own access control.
    pub credentials: Option<Credentials>,
    /// Take versions of etcd that are known to break promises.
    pub allow_old: bool,
}

/// A user of etcd.
#[derive(Debug)]
pub struct Credentials {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}
