//! `-dev`: everything in memory, initialised and unsealed, with kv v2 at `secret/`, as people try things out with.

use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use holdfast_base::{Entropy, id};
use holdfast_core::{Answer, Core, Raw, Verb};
use holdfast_secret::SecretString;
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;

/// What people need to use the dev server.
#[derive(Debug)]
pub struct Ready {
    /// Root token.
    pub root_token: SecretString,
    /// The one key share.
    pub unseal_key: SecretString,
}

/// Initialises, unseals, mounts kv v2, and makes the root token that was asked for.
pub async fn prepare(core: &Arc<Core>, entropy: &Arc<dyn Entropy>, arguments: &Arguments) -> anyhow::Result<Ready> {
    let calls = Calls { core, entropy };
    let made = calls.write("sys/init", None, json!({"secret_shares": 1, "secret_threshold": 1})).await?;
    let unseal_key = secret(&made["keys_base64"][0], "keys_base64")?;
    let first = secret(&made["root_token"], "root_token")?;
    calls.write("sys/unseal", None, json!({"key": unseal_key.expose()})).await?;
    let version = if arguments.dev_kv_v1 { "1" } else { "2" };
    let kv = json!({"type": "kv", "options": {"version": version}, "description": "key/value secret storage"});
    calls.write("sys/mounts/secret", Some(&first), kv).await?;
    let Some(wanted) = &arguments.dev_root_token else { return Ok(Ready { root_token: first, unseal_key }) };
    let root = json!({"id": wanted.expose(), "policies": ["root"], "no_parent": true, "display_name": "root"});
    calls.write("auth/token/create", Some(&first), root).await?;
    calls.write("auth/token/revoke-self", Some(&first), json!({})).await?;
    Ok(Ready { root_token: wanted.duplicate(), unseal_key })
}

/// What is printed when the dev server is ready. Programs look for the two lines that Vault prints.
pub fn greeting(address: &str, ready: &Ready, arguments: &Arguments) -> String {
    format!(
        "==> Holdfast dev server: storage in memory, unsealed, TLS off. Do not use it for anything you want to keep.\n\n\
         Unseal Key: {unseal}\nRoot Token: {root}\n\n    \
         Address      {address}\n    KV version {version} at secret/\n\n    \
         export VAULT_ADDR={address} VAULT_TOKEN={root}\n",
        root = ready.root_token.expose(),
        unseal = ready.unseal_key.expose(),
        version = if arguments.dev_kv_v1 { 1 } else { 2 },
    )
}

/// Puts the root token where command lines look for one: `~/.vault-token`, for its owner only. Nothing where there is no
/// home.
pub fn store_token(home: Option<&str>, ready: &Ready) -> std::io::Result<()> {
    let Some(home) = home.filter(|home| !home.is_empty()) else { return Ok(()) };
    let (file, new) = (Path::new(home).join(".vault-token"), Path::new(home).join(".vault-token.new"));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    written.write_all(ready.root_token.expose().as_bytes())?;
    std::fs::rename(new, file)
}

struct Calls<'a> {
    core: &'a Arc<Core>,
    entropy: &'a Arc<dyn Entropy>,
}

impl Calls<'_> {
    async fn write(&self, path: &str, token: Option<&SecretString>, body: Value) -> anyhow::Result<Value> {
        let mut raw = Raw::new(id::uuid(&**self.entropy), Verb::Write, path);
        raw.token = token.map(SecretString::duplicate);
        raw.body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        match self.core.handle(raw).await {
            Answer::Empty | Answer::Envelope { status: ..400, .. } | Answer::Raw { status: ..400, .. } => {
                Ok(Value::Null)
            }
            Answer::Bare { status: ..400, body } => Ok(body),
            Answer::Error(error) => Err(anyhow::anyhow!("dev server: {path}: {error}")),
            _ => Err(anyhow::anyhow!("dev server: {path} failed")),
        }
    }
}

fn secret(value: &Value, name: &str) -> anyhow::Result<SecretString> {
    value.as_str().map(SecretString::new).ok_or_else(|| anyhow::anyhow!("dev server: sys/init answered no {name}"))
}
