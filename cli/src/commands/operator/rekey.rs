//! `operator rekey`

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::pgp;
use crate::{
    failure::{During, Failure},
    format::{self, cell},
    prompt,
    session::Session,
};

/// Make new shares of the unseal or recovery key. Without a flag: give a share.
#[derive(Args)]
pub struct Rekey {
    /// Begin.
    #[arg(long)]
    init: bool,
    /// Give up.
    #[arg(long)]
    cancel: bool,
    /// Show how far it is.
    #[arg(long)]
    status: bool,
    /// With -init: the new shares count only when they were given back with -verify. Without: give back a new share.
    #[arg(long)]
    verify: bool,
    /// Which key: barrier (or unseal), or recovery.
    #[arg(long, value_enum, default_value = "barrier")]
    target: Target,
    /// New shares.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 5)]
    key_shares: u64,
    /// How many of them are needed.
    #[arg(long, short = 't', value_name = "NUMBER", default_value_t = 3)]
    key_threshold: u64,
    /// Files with public PGP keys, separated by commas, one for each share.
    #[arg(long, value_name = "FILES")]
    pgp_keys: Option<String>,
    /// Let the server keep the encrypted shares.
    #[arg(long)]
    backup: bool,
    /// Show the shares that the server kept.
    #[arg(long)]
    backup_retrieve: bool,
    /// Let the server forget the shares that it kept.
    #[arg(long)]
    backup_delete: bool,
    /// Number of the attempt, as -init showed it.
    #[arg(long)]
    nonce: Option<String>,
    /// The share; better typed at the prompt, or - for standard input.
    key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    #[value(alias = "unseal")]
    Barrier,
    Recovery,
}

impl Rekey {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        let noun = match self.target {
            Target::Barrier => "sys/rekey",
            Target::Recovery => "sys/rekey-recovery-key",
        };
        let path = |verb: &str| format!("{noun}/{verb}");
        let step = if self.verify { "verify" } else { "init" };
        if self.backup_retrieve {
            let kept = api.read(&path("backup"), "").await.during("retrieving rekey stored keys")?;
            return session.secret_or(kept.as_ref(), "No keys are kept");
        }
        if self.backup_delete {
            api.delete(&path("backup")).await.during("deleting rekey stored keys")?;
            session.say("Success! Delete stored keys (if they existed)");
            return Ok(());
        }
        if self.cancel {
            api.delete(&path(step)).await.during("canceling rekey")?;
            session.say("Success! Canceled rekeying (if it was started)");
            return Ok(());
        }
        if self.init {
            let body = self.wish()?;
            let status = api.bare(Method::PUT, &path("init"), Some(body)).await.during("initializing rekey")?;
            return session.value(&json!(status), || table(&status));
        }
        let now = api.bare(Method::GET, &path(step), None).await.during("getting rekey status")?;
        if self.status {
            return session.value(&json!(now), || table(&now));
        }
        if now.get("started") != Some(&Value::Bool(true)) {
            return Err(Failure::local("No rekey is in progress: start one with -init"));
        }
        let nonce = self.nonce.unwrap_or_else(|| cell(&now, "nonce"));
        let key = prompt::argument(self.key, "Rekey operation key", session.asks())?;
        let body = json!({ "key": key.expose().trim(), "nonce": nonce });
        let verb = if self.verify { "verify" } else { "update" };
        let status = api.bare(Method::PUT, &path(verb), Some(body)).await.during("posting unseal key")?;
        session.value(&json!(status), || table(&status))
    }

    fn wish(&self) -> Result<Value, Failure> {
        let pgp_keys = self.pgp_keys.as_deref().map(pgp::read_all).transpose()?.unwrap_or_default();
        Ok(json!({
            "secret_shares": self.key_shares,
            "secret_threshold": self.key_threshold,
            "pgp_keys": pgp_keys,
            "backup": self.backup,
            "require_verification": self.verify,
        }))
    }
}

fn table(status: &Map<String, Value>) -> String {
    let mut text = String::new();
    let list = |name: &str| status.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let fingerprints = list("pgp_fingerprints");
    for (index, share) in list("keys_base64").iter().enumerate() {
        let person = fingerprints.get(index).map(|person| format!(" fingerprint: {};", format::plain(person)));
        let value = if person.is_some() { " value: " } else { " " };
        text.push_str(&format!("Key {}:{}{value}{}\n", index + 1, person.unwrap_or_default(), format::plain(share)));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut rows = Vec::new();
    for (title, name) in [
        ("Nonce", "nonce"),
        ("Started", "started"),
        ("Complete", "complete"),
        ("New Shares", "n"),
        ("New Threshold", "t"),
        ("Verification Required", "verification_required"),
        ("Verification Nonce", "verification_nonce"),
    ] {
        if status.contains_key(name) {
            rows.push((title.to_owned(), cell(status, name)));
        }
    }
    if status.contains_key("required") {
        rows.push(("Rekey Progress".to_owned(), format!("{}/{}", cell(status, "progress"), cell(status, "required"))));
    }
    text + &format::key_value(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_shares_come_first() {
        let status = json!({"nonce": "a", "complete": true, "keys_base64": ["k1"], "pgp_fingerprints": ["ff"]});
        let text = table(status.as_object().unwrap());
        assert!(text.starts_with("Key 1: fingerprint: ff; value: k1\n\n"), "{text}");
    }
}
