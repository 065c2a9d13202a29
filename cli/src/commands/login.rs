//! `login`

use clap::Args;
use holdfast_api_types::{AuthInfo, Envelope};
use holdfast_secret::SecretString;
use serde_json::{Map, Value};

use crate::{
    failure::{During, Failure},
    format::cell,
    input, prompt,
    session::Session,
};

/// Where Kubernetes puts the token of a pod.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Log in, and keep the token.
#[derive(Args)]
pub struct Login {
    /// token, kubernetes, jwt, cert, approle, userpass or another method.
    #[arg(long, default_value = "token")]
    method: String,
    /// Path of the method; its name by default.
    #[arg(long)]
    path: Option<String>,
    /// Do not keep the token in ~/.vault-token.
    #[arg(long)]
    no_store: bool,
    /// Do not print the token.
    #[arg(long)]
    no_print: bool,
    /// Print the token only.
    #[arg(long)]
    token_only: bool,
    /// The token (or - for standard input), or key=value for the method: role=app jwt=@file,
    /// role_id=app secret_id=@file, username=ada (asks for the password), name=web (cert, with -client-cert and
    /// -client-key).
    arguments: Vec<String>,
}

impl Login {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let envelope = match self.method.as_str() {
            "token" => self.with_token(session).await?,
            method => self.with_method(session, method).await?,
        };
        if envelope.wrap_info.is_some() {
            session.say("The answer is wrapped; unwrap it with holdfast unwrap.");
            return session.secret(&envelope);
        }
        let auth = envelope.auth.as_ref().ok_or_else(|| Failure::local("The server answered without a token."))?;
        if !self.no_store && !self.token_only {
            let stored = session.token_file()?.write(&SecretString::new(auth.client_token.as_str()));
            stored.map_err(|error| Failure::local(format!("Error storing token in ~/.vault-token: {error}")))?;
        }
        if session.token_from_environment() && !self.no_store && !self.token_only {
            session.warn("WARNING! HOLDFAST_TOKEN or VAULT_TOKEN is set and hides the token that was stored now.\n");
        }
        if self.no_print {
            return Ok(());
        }
        if self.token_only {
            session.print_alone(&auth.client_token);
            return Ok(());
        }
        session.say(if self.no_store {
            "Success! You are now authenticated. The token is shown below and was not stored:\nset VAULT_TOKEN to use it.\n"
        } else {
            "Success! You are now authenticated. The token shown below is stored in ~/.vault-token:\nfurther commands use it by themselves.\n"
        });
        session.secret(&envelope)
    }

    async fn with_token(&self, session: &Session) -> Result<Envelope, Failure> {
        let given = match self.arguments.as_slice() {
            [] => None,
            [one] => Some(one.strip_prefix("token=").unwrap_or(one).to_owned()),
            _ => return Err(Failure::local("Too many arguments: give one token")),
        };
        let token = prompt::argument(given, "Token", session.asks())?;
        if token.is_empty() {
            return Err(Failure::local("The token is empty"));
        }
        let api = session.api().with_client(session.api().client().with_token(token.duplicate()));
        let data = api.data("auth/token/lookup-self").await.during("authenticating: error looking up token")?;
        Ok(Envelope { auth: Some(described(&token, &data)), ..Envelope::default() })
    }

    async fn with_method(&self, session: &Session, method: &str) -> Result<Envelope, Failure> {
        let mut body = input::data(&self.arguments)?;
        let mount = self.path.as_deref().unwrap_or(method).trim_matches('/');
        let mount = mount.strip_prefix("auth/").unwrap_or(mount);
        let mut path = format!("auth/{mount}/login");
        match method {
            "kubernetes" if !body.contains_key("jwt") => {
                let jwt = input::file(SERVICE_ACCOUNT_TOKEN)?;
                body.insert("jwt".to_owned(), Value::from(jwt.trim()));
            }
            "oidc" if !body.contains_key("jwt") => {
                return Err(Failure::local(
                    "Logins through a browser are not supported yet. With a token of the provider: holdfast login \
                     -method=jwt -path=oidc role=<role> jwt=@<file>",
                ));
            }
            "userpass" | "ldap" => {
                let user = body.remove("username").and_then(|name| name.as_str().map(str::to_owned));
                let user = user.ok_or_else(|| Failure::local("'username' must be supplied: username=<name>"))?;
                path = format!("{path}/{user}");
                if !body.contains_key("password") {
                    let password = prompt::secret("Password", session.asks())?;
                    body.insert("password".to_owned(), Value::from(password.expose()));
                }
            }
            _ => {}
        }
        trim_file_values(&mut body);
        let envelope = session.api().write(&path, Value::Object(body)).await.during("authenticating")?;
        envelope.ok_or_else(|| Failure::local("The server answered without a token."))
    }
}

/// A token or an id in a file ends with a line feed more often than not.
fn trim_file_values(body: &mut Map<String, Value>) {
    for name in ["jwt", "role_id", "secret_id"] {
        if let Some(Value::String(text)) = body.get_mut(name) {
            *text = text.trim().to_owned();
        }
    }
}

/// What a login would have answered, from a lookup of the token.
fn described(token: &SecretString, data: &Map<String, Value>) -> AuthInfo {
    let list = |key: &str| -> Vec<String> {
        data.get(key).and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default()
    };
    let mut policies = [list("policies"), list("identity_policies")].concat();
    policies.sort();
    policies.dedup();
    AuthInfo {
        client_token: token.expose().to_owned(),
        accessor: cell(data, "accessor"),
        policies,
        token_policies: list("policies"),
        identity_policies: list("identity_policies"),
        metadata: data.get("meta").and_then(|meta| serde_json::from_value(meta.clone()).ok()),
        lease_duration: data.get("ttl").and_then(Value::as_u64).unwrap_or_default(),
        renewable: data.get("renewable").and_then(Value::as_bool).unwrap_or_default(),
        entity_id: cell(data, "entity_id"),
        token_type: cell(data, "type"),
        orphan: data.get("orphan").and_then(Value::as_bool).unwrap_or_default(),
        ..AuthInfo::default()
    }
}
