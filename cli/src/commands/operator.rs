//! `operator`

mod init;
mod pgp;
mod raft;
mod rekey;
mod root;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::status;
use crate::{
    failure::{During, Failure},
    format::{self, cell},
    prompt,
    session::Session,
};

/// Initialise, seal, rotate, check.
#[derive(Subcommand)]
pub enum Operator {
    /// Make the keys of a new server. They are shown once.
    Init(init::Init),
    /// Give one share of the unseal key.
    Unseal(Unseal),
    /// Forget the keys: nothing is served until the server is unsealed.
    Seal(Seal),
    /// Make a new encryption key for what is written from now on.
    Rotate,
    /// Show the encryption key's number and age.
    KeyStatus,
    /// Check the store: what cannot be decrypted, what belongs to nothing.
    Fsck,
    /// Look at configuration, certificates, seal and storage as a start would (0 well, 1 failures, 2 warnings).
    Diagnose {
        /// File or folder with configuration; may be repeated.
        #[arg(long, value_name = "PATH")]
        config: Vec<String>,
    },
    /// Let another replica lead.
    StepDown,
    /// Make a root token with shares of the unseal key.
    GenerateRoot(Box<root::GenerateRoot>),
    /// Make new shares of the unseal or recovery key.
    Rekey(Box<rekey::Rekey>),
    /// Show the replicas.
    Members,
    /// Snapshots of everything that is stored.
    #[command(subcommand)]
    Raft(raft::Raft),
}

/// Give one share of the unseal key.
#[derive(Args)]
pub struct Unseal {
    /// Forget the shares given so far.
    #[arg(long)]
    reset: bool,
    /// The unseal is part of a change of seals.
    #[arg(long)]
    migrate: bool,
    /// The share; better typed at the prompt, or - for standard input: arguments stay in the shell's history.
    key: Option<String>,
}

/// Forget the keys: nothing is served until the server is unsealed.
#[derive(Args)]
pub struct Seal {
    /// Only the replica that answers, until it is restarted. Default: all of them, until somebody unseals.
    #[arg(long)]
    node: bool,
}

impl Operator {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::Init(init) => init.run(session).await,
            Self::Unseal(unseal) => unseal.run(session).await,
            Self::GenerateRoot(root) => root.run(session).await,
            Self::Rekey(rekey) => rekey.run(session).await,
            Self::Members => members(session).await,
            Self::Raft(raft) => raft.run(session).await,
            Self::Seal(seal) => {
                let body = if seal.node { json!({ "node": true }) } else { json!({}) };
                api.write("sys/seal", body).await.during("sealing")?;
                session.say("Success! Holdfast is sealed.");
                Ok(())
            }
            // The binary takes it before it comes here, as it is the server's.
            Self::Diagnose { config } => Err(Failure::local(format!(
                "Put the flags last: holdfast operator diagnose -config={}",
                config.first().map_or("<path>", String::as_str)
            ))),
            Self::StepDown => {
                api.write("sys/step-down", json!({})).await.during("stepping down")?;
                session.say("Success! Stepped down");
                Ok(())
            }
            Self::Rotate => {
                api.write("sys/rotate", json!({})).await.during("rotating key")?;
                session.say("Success! Rotated key\n");
                key_status(session).await
            }
            Self::KeyStatus => key_status(session).await,
            Self::Fsck => fsck(session).await,
        }
    }
}

async fn key_status(session: &Session) -> Result<(), Failure> {
    let data = session.api().data("sys/key-status").await.during("reading key status")?;
    session.value(&Value::Object(data.clone()), || {
        let mut rows = vec![
            ("Key Term".to_owned(), cell(&data, "term")),
            ("Install Time".to_owned(), cell(&data, "install_time")),
        ];
        if data.contains_key("encryptions") {
            rows.push(("Encryption Count".to_owned(), cell(&data, "encryptions")));
        }
        rows.iter().map(|(title, value)| format!("{title:<20}{value}")).collect::<Vec<_>>().join("\n")
    })
}

async fn members(session: &Session) -> Result<(), Failure> {
    let data = session.api().data("sys/ha-status").await.during("reading the replicas")?;
    let nodes = data.get("nodes").and_then(Value::as_array).cloned().unwrap_or_default();
    session.value(&json!({ "Nodes": nodes }), || {
        let line = |node: &Value| {
            let cell = |name: &str| node.get(name).map(format::plain).unwrap_or_default();
            format!("{:<30} {:<40} {}", cell("hostname"), cell("api_address"), cell("version"))
        };
        let head = format!("{:<30} {:<40} {}", "Host Name", "API Address", "Version");
        std::iter::once(head).chain(nodes.iter().map(line)).collect::<Vec<_>>().join("\n")
    })
}

/// Exit code 2 when the store is not clean.
async fn fsck(session: &Session) -> Result<(), Failure> {
    let start = Instant::now();
    let data = session.api().data("sys/fsck").await.during("checking the store")?;
    let clean = data.get("clean") == Some(&Value::Bool(true));
    session.value(&Value::Object(data.clone()), || fsck_lines(&data, clean, start.elapsed()))?;
    if clean { Ok(()) } else { Err(Failure::Quiet(2)) }
}

/// One line of counts, what there is before what is wrong; then each finding on a line of its own.
fn fsck_lines(data: &Map<String, Value>, clean: bool, took: Duration) -> String {
    let first = ["keys", "leases", "members"];
    let rest = data.keys().map(String::as_str).filter(|key| !first.contains(key) && *key != "bytes");
    let count = |key: &str| Some(format!("{} {}", key.replace('_', " "), grouped(data.get(key)?.as_u64()?)));
    let counts: Vec<String> = first.into_iter().chain(rest).filter_map(count).collect();
    let verdict = if clean { "clean" } else { "NOT CLEAN" };
    let mut text = format!("{}      {verdict} in {:.1} s", counts.join(" · "), took.as_secs_f64());
    if data.get("restore_running") == Some(&Value::Bool(true)) {
        text.push_str("\na snapshot is being restored");
    }
    for (key, value) in data {
        for finding in value.as_array().into_iter().flatten() {
            text.push_str(&format!("\n{}: {}", key.replace('_', " "), format::plain(finding)));
        }
    }
    text
}

/// `18204` as `18,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Unseal {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = if self.reset {
            json!({ "reset": true })
        } else if self.key.is_none() && !self.migrate && keeps_its_key(session).await {
            // Nobody holds shares; the token says who asks.
            json!({})
        } else {
            let key = prompt::argument(self.key, "Unseal Key", session.asks())?;
            if key.is_empty() {
                return Err(Failure::local("The key is empty"));
            }
            let mut body = json!({ "key": key.expose().trim() });
            if self.migrate {
                body["migrate"] = true.into();
            }
            body
        };
        let status = session.api().bare(Method::PUT, "sys/unseal", Some(body)).await.during("unsealing")?;
        session.value(&Value::Object(status.clone()), || status::table(&status, &Map::new()))
    }
}

/// Does a seal keep the key, and does nobody hold recovery keys?
async fn keeps_its_key(session: &Session) -> bool {
    let status = session.api().really().bare(Method::GET, "sys/seal-status", None).await.unwrap_or_default();
    status.get("recovery_seal") == Some(&Value::Bool(true)) && status.get("n") == Some(&json!(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_on_one_line() {
        let data = json!({"clean": false, "keys": 18204, "undecryptable": 1, "leases": 2, "bytes": 5,
            "damaged_paths": ["core/x"], "values_by_term": {"1": 3}});
        let text = fsck_lines(data.as_object().unwrap(), false, Duration::from_millis(412));
        let expected = "keys 18,204 · leases 2 · undecryptable 1      NOT CLEAN in 0.4 s\ndamaged paths: core/x";
        assert_eq!(text, expected);
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
