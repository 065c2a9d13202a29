//! `operator`

mod init;
mod root;

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
    Seal,
    /// Make a new encryption key for what is written from now on.
    Rotate,
    /// Show the encryption key's number and age.
    KeyStatus,
    /// Check the store: what cannot be decrypted, what belongs to nothing.
    Fsck,
    /// Let another replica lead.
    StepDown,
    /// Make a root token with shares of the unseal key.
    GenerateRoot(Box<root::GenerateRoot>),
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

impl Operator {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::Init(init) => init.run(session).await,
            Self::Unseal(unseal) => unseal.run(session).await,
            Self::GenerateRoot(root) => root.run(session).await,
            Self::Seal => {
                api.write("sys/seal", json!({})).await.during("sealing")?;
                session.say("Success! Holdfast is sealed.");
                Ok(())
            }
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

/// Exit code 2 when the store is not clean.
async fn fsck(session: &Session) -> Result<(), Failure> {
    let data = session.api().data("sys/fsck").await.during("checking the store")?;
    let clean = data.get("clean").and_then(Value::as_bool).unwrap_or(true);
    session.value(&Value::Object(data.clone()), || fsck_line(&data, clean))?;
    if clean { Ok(()) } else { Err(Failure::Quiet(2)) }
}

/// One line of counts; what is wrong follows line by line.
fn fsck_line(data: &Map<String, Value>, clean: bool) -> String {
    let count = |(key, value): (&String, &Value)| match value {
        Value::Number(number) => Some(format!("{} {number}", key.replace('_', " "))),
        _ => None,
    };
    let counts: Vec<String> = data.iter().filter_map(count).collect();
    let mut text = format!("{}      {}", counts.join(" · "), if clean { "clean" } else { "NOT CLEAN" });
    for (key, value) in data {
        for finding in value.as_array().into_iter().flatten() {
            text.push_str(&format!("\n{}: {}", key.replace('_', " "), format::plain(finding)));
        }
    }
    text
}

impl Unseal {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = if self.reset {
            json!({ "reset": true })
        } else {
            let key = prompt::argument(self.key, "Unseal Key")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_on_one_line() {
        let data = json!({"clean": false, "keys": 18, "orphans": 1, "findings": ["lease a has no token"]});
        let text = fsck_line(data.as_object().unwrap(), false);
        assert_eq!(text, "keys 18 · orphans 1      NOT CLEAN\nfindings: lease a has no token");
    }
}
