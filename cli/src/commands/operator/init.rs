//! `operator init`

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::pgp;
use crate::{
    failure::{During, Failure},
    format::cell,
    session::Session,
};

/// Make the keys of a new server.
#[derive(Args)]
pub struct Init {
    /// Shares of the unseal key.
    #[arg(long, value_name = "NUMBER")]
    key_shares: Option<u64>,
    /// How many of them unseal.
    #[arg(long, value_name = "NUMBER")]
    key_threshold: Option<u64>,
    /// Shares of the recovery key, where the server unseals itself.
    #[arg(long, value_name = "NUMBER")]
    recovery_shares: Option<u64>,
    /// How many of them recover.
    #[arg(long, value_name = "NUMBER")]
    recovery_threshold: Option<u64>,
    /// Files with public PGP keys, separated by commas, one for each unseal share.
    #[arg(long, value_name = "FILES")]
    pgp_keys: Option<String>,
    /// The same for the recovery shares.
    #[arg(long, value_name = "FILES")]
    recovery_pgp_keys: Option<String>,
    /// File with the public PGP key to encrypt the root token to.
    #[arg(long, value_name = "FILE")]
    root_token_pgp_key: Option<String>,
    /// Only say whether the server is initialised (exit code 2 if not).
    #[arg(long)]
    status: bool,
}

impl Init {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        if self.status {
            let answer = api.bare(Method::GET, "sys/init", None).await;
            let answer = answer.map_err(|error| Failure::local(format!("Error checking init status: {error}")))?;
            let done = answer.get("initialized") == Some(&Value::Bool(true));
            let line = if done { "Holdfast is initialized" } else { "Holdfast is not initialized" };
            session.value(&json!(answer), || line.to_owned())?;
            return if done { Ok(()) } else { Err(Failure::Quiet(2)) };
        }
        let status = api.bare(Method::GET, "sys/seal-status", None).await.during("initializing")?;
        let mut body = self.body(status.get("recovery_seal") == Some(&Value::Bool(true)));
        for (name, files) in [("pgp_keys", &self.pgp_keys), ("recovery_pgp_keys", &self.recovery_pgp_keys)] {
            if let Some(files) = files {
                body.insert(name.to_owned(), json!(pgp::read_all(files)?));
            }
        }
        if let Some(file) = &self.root_token_pgp_key {
            body.insert("root_token_pgp_key".to_owned(), json!(pgp::read(file)?));
        }
        let answer = api.bare(Method::PUT, "sys/init", Some(Value::Object(body.clone()))).await;
        let answer = answer.during("initializing")?;
        session.value(&json_form(&answer, &body), || table(&answer, &body))
    }

    /// Five shares of which three unseal, unless told otherwise.
    fn body(&self, recovery: bool) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, given: Option<u64>, default: Option<u64>| {
            if let Some(number) = given.or(default) {
                body.insert(key.to_owned(), number.into());
            }
        };
        put("secret_shares", self.key_shares, Some(5).filter(|_| !recovery));
        put("secret_threshold", self.key_threshold, Some(3).filter(|_| !recovery));
        put("recovery_shares", self.recovery_shares, Some(5).filter(|_| recovery));
        put("recovery_threshold", self.recovery_threshold, Some(3).filter(|_| recovery));
        body
    }
}

fn texts(answer: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = answer.get(key).and_then(Value::as_array);
    list.into_iter().flatten().map(crate::format::plain).collect()
}

/// As the vault command prints it with `-format=json`.
fn json_form(answer: &Map<String, Value>, body: &Map<String, Value>) -> Value {
    let number = |key: &str| body.get(key).cloned().unwrap_or(json!(0));
    json!({
        "unseal_keys_b64": texts(answer, "keys_base64"),
        "unseal_keys_hex": texts(answer, "keys"),
        "unseal_shares": number("secret_shares"),
        "unseal_threshold": number("secret_threshold"),
        "recovery_keys_b64": texts(answer, "recovery_keys_base64"),
        "recovery_keys_hex": texts(answer, "recovery_keys"),
        "recovery_keys_shares": number("recovery_shares"),
        "recovery_keys_threshold": number("recovery_threshold"),
        "root_token": cell(answer, "root_token"),
    })
}

fn table(answer: &Map<String, Value>, body: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (title, key) in [("Unseal Key", "keys_base64"), ("Recovery Key", "recovery_keys_base64")] {
        for (index, share) in texts(answer, key).iter().enumerate() {
            text.push_str(&format!("{title} {}: {share}\n", index + 1));
        }
    }
    let token = cell(answer, "root_token");
    if !token.is_empty() {
        text.push_str(&format!("\nInitial Root Token: {token}\n"));
    }
    let number = |key: &str| body.get(key).map(crate::format::plain).unwrap_or_default();
    text.push_str(&match body.contains_key("secret_shares") {
        true => format!(
            "\nInitialized with {} key shares, of which {} unseal. Give each share to another person: they are shown\n\
             only now, the server keeps none, and without {} of them what it stores cannot be read again.\n\
             After every start: holdfast operator unseal",
            number("secret_shares"),
            number("secret_threshold"),
            number("secret_threshold"),
        ),
        false => format!(
            "\nInitialized. The server unseals itself. The {} recovery key shares, of which {} are needed, serve to make\n\
             a new root token; they are shown only now.",
            number("recovery_shares"),
            number("recovery_threshold"),
        ),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_line_by_line() {
        let answer = json!({"keys": ["aa", "bb"], "keys_base64": ["qg==", "uw=="], "root_token": "hvs.root"});
        let body = json!({"secret_shares": 2, "secret_threshold": 2});
        let (answer, body) = (answer.as_object().unwrap(), body.as_object().unwrap());
        let text = table(answer, body);
        assert!(
            text.starts_with("Unseal Key 1: qg==\nUnseal Key 2: uw==\n\nInitial Root Token: hvs.root\n\n"),
            "{text}"
        );
        let json = json_form(answer, body);
        assert_eq!(json["unseal_keys_hex"], json!(["aa", "bb"]));
        assert_eq!(json["unseal_threshold"], 2);
        assert_eq!(json["root_token"], "hvs.root");
    }
}
