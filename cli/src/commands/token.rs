//! `token`

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    failure::{During, Failure},
    format, input,
    session::Session,
};

/// Tokens.
#[derive(Subcommand)]
pub enum Token {
    /// Make a token.
    Create(Box<Create>),
    /// Show a token; without argument, the one of this session.
    Lookup(Named),
    /// Renew a token; without argument, the one of this session.
    Renew(Renew),
    /// Revoke a token and all that came from it.
    Revoke(Revoke),
    /// Show what a token may do at a path.
    Capabilities(Capabilities),
}

/// Make a token.
#[derive(Args)]
pub struct Create {
    /// The token itself, instead of a random one.
    #[arg(long)]
    id: Option<String>,
    /// For people.
    #[arg(long)]
    display_name: Option<String>,
    /// Life, and life after each renewal.
    #[arg(long)]
    ttl: Option<String>,
    /// Longest life, renewals or not.
    #[arg(long)]
    explicit_max_ttl: Option<String>,
    /// Life of a token that may be renewed for ever.
    #[arg(long)]
    period: Option<String>,
    /// May it be renewed? (-renewable=false)
    #[arg(long, default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    renewable: bool,
    /// Without parent: it does not end with the token that makes it.
    #[arg(long)]
    orphan: bool,
    /// Without the default policy.
    #[arg(long)]
    no_default_policy: bool,
    /// How often it may be used; 0 for any number.
    #[arg(long, value_name = "NUMBER")]
    use_limit: Option<u64>,
    /// Role of auth/token/roles.
    #[arg(long)]
    role: Option<String>,
    /// service or batch.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Entity alias; needs -role.
    #[arg(long)]
    entity_alias: Option<String>,
    /// Metadata, key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Policy; may be repeated.
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
}

/// A token, or the accessor of one.
#[derive(Args)]
pub struct Named {
    /// The argument is an accessor.
    #[arg(long)]
    accessor: bool,
    /// The token; - for standard input.
    token: Option<String>,
}

/// Renew a token.
#[derive(Args)]
pub struct Renew {
    #[command(flatten)]
    named: Named,
    /// How much longer, from now on.
    #[arg(long, alias = "i", value_name = "DURATION")]
    increment: Option<String>,
}

/// Revoke a token.
#[derive(Args)]
pub struct Revoke {
    #[command(flatten)]
    named: Named,
    /// The token of this session.
    #[arg(long = "self")]
    own: bool,
    /// orphan: leave what came from the token alive.
    #[arg(long, value_name = "MODE", value_parser = ["orphan"])]
    mode: Option<String>,
}

/// Show what a token may do at a path.
#[derive(Args)]
pub struct Capabilities {
    /// The first argument is an accessor.
    #[arg(long)]
    accessor: bool,
    /// The path; before it, a token (or accessor) other than that of this session.
    #[arg(required = true, num_args = 1..=2, value_name = "PATH")]
    arguments: Vec<String>,
}

impl Token {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::Lookup(named) => {
                let envelope = match named.body()? {
                    None => session.api().read("auth/token/lookup-self", "").await,
                    Some((suffix, body)) => session.api().write(&format!("auth/token/lookup{suffix}"), body).await,
                };
                session.secret(&envelope.during("looking up token")?.unwrap_or_default())
            }
            Self::Renew(Renew { named, increment }) => {
                let (suffix, mut body) = named.body()?.unwrap_or(("-self", json!({})));
                if let Some(increment) = increment {
                    body["increment"] = increment.into();
                }
                let envelope = session.api().write(&format!("auth/token/renew{suffix}"), body).await;
                session.secret(&envelope.during("renewing token")?.unwrap_or_default())
            }
            Self::Revoke(revoke) => revoke.run(session).await,
            Self::Capabilities(capabilities) => capabilities.run(session).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = Map::new();
        let texts = [
            ("id", self.id),
            ("display_name", self.display_name),
            ("ttl", self.ttl),
            ("explicit_max_ttl", self.explicit_max_ttl),
            ("period", self.period),
            ("type", self.kind),
            ("entity_alias", self.entity_alias),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                body.insert(key.to_owned(), Value::String(value));
            }
        }
        body.insert("renewable".to_owned(), Value::Bool(self.renewable));
        for (key, on) in [("no_default_policy", self.no_default_policy), ("no_parent", self.orphan)] {
            if on {
                body.insert(key.to_owned(), Value::Bool(true));
            }
        }
        if let Some(uses) = self.use_limit {
            body.insert("num_uses".to_owned(), Value::from(uses));
        }
        if !self.policies.is_empty() {
            body.insert("policies".to_owned(), Value::from(self.policies));
        }
        if !self.metadata.is_empty() {
            let meta = input::texts(&self.metadata)?.into_iter().map(|(key, value)| (key, Value::String(value)));
            body.insert("meta".to_owned(), Value::Object(meta.collect()));
        }
        let path = self.role.map_or("auth/token/create".to_owned(), |role| format!("auth/token/create/{role}"));
        let envelope = session.api().write(&path, Value::Object(body)).await.during("creating token")?;
        session.secret(&envelope.unwrap_or_default())
    }
}

impl Named {
    /// Suffix of the endpoint and body; `None` for the session's own token.
    fn body(&self) -> Result<Option<(&'static str, Value)>, Failure> {
        let Some(token) = &self.token else {
            return if self.accessor {
                Err(Failure::local("-accessor needs an accessor as argument"))
            } else {
                Ok(None)
            };
        };
        let token = if token == "-" { input::text("-")?.trim().to_owned() } else { token.clone() };
        Ok(Some(match self.accessor {
            true => ("-accessor", json!({ "accessor": token })),
            false => ("", json!({ "token": token })),
        }))
    }
}

impl Revoke {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (suffix, body) = match (self.own, self.named.body()?) {
            (true, None) => ("-self", json!({})),
            (false, Some((suffix, body))) => (suffix, body),
            (true, Some(_)) => return Err(Failure::local("Cannot use -self with a token")),
            (false, None) => return Err(Failure::local("Must supply a token or accessor, or use -self")),
        };
        let suffix = if self.mode.is_some() { "-orphan" } else { suffix };
        session.api().write(&format!("auth/token/revoke{suffix}"), body).await.during("revoking token")?;
        session.say("Success! Revoked token (if it existed)");
        Ok(())
    }
}

impl Capabilities {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (endpoint, mut body) = match (self.arguments.as_slice(), self.accessor) {
            ([_], false) => ("sys/capabilities-self", json!({})),
            ([token, _], false) => ("sys/capabilities", json!({ "token": token })),
            ([accessor, _], true) => ("sys/capabilities-accessor", json!({ "accessor": accessor })),
            _ => return Err(Failure::local("-accessor needs an accessor and a path")),
        };
        let path = self.arguments.last().cloned().unwrap_or_default();
        body["paths"] = json!([path]);
        let envelope = session.api().write(endpoint, body).await.during("listing capabilities")?;
        let data = envelope.and_then(|envelope| envelope.data).unwrap_or_default();
        let list = data.get(path.as_str()).or_else(|| data.get("capabilities")).cloned().unwrap_or(json!([]));
        session.value(&list, || {
            let mut names: Vec<String> = list.as_array().into_iter().flatten().map(format::plain).collect();
            names.sort();
            names.join(", ")
        })
    }
}
