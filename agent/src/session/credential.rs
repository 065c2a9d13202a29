//! What a login shows: read from files at each login, kept where the file is to be removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use holdfast_api_types::AuthInfo;
use holdfast_client::{Call, Client, Error as ClientError};
use holdfast_secret::SecretString;
use serde_json::{Map, Value, json};

use crate::{
    config::{Auth, Method},
    failure::{Class, Failure},
};

/// Credentials whose files are gone by now.
#[derive(Default)]
pub(super) struct Kept {
    jwt: Option<SecretString>,
    secret_id: Option<SecretString>,
}

/// What is sent to `auth/<mount>/login`, or the token itself.
pub(super) enum Shown {
    Body(Map<String, Value>),
    Token(SecretString),
}

impl Kept {
    /// Reads what the method shows. The text is the bearer's token, for messages about who that is.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        auth: &Auth,
    ) -> Result<(Shown, Option<SecretString>), Failure> {
        let mut body = Map::new();
        let mut put = |name: &str, value: &str| body.insert(name.to_owned(), Value::from(value));
        if !auth.role.is_empty() {
            put(if matches!(auth.method, Method::Cert { .. }) { "name" } else { "role" }, &auth.role);
        }
        let mut bearer = None;
        match &auth.method {
            Method::Kubernetes => {
                let jwt = read(&auth.token_path, "the pod's token")?;
                put("jwt", jwt.expose());
                bearer = Some(jwt);
            }
            Method::Jwt { remove } => {
                let jwt = kept(&mut self.jwt, &auth.token_path, "the JWT", *remove)?;
                put("jwt", jwt.expose());
                bearer = Some(jwt);
            }
            Method::Approle { role_id, secret_id, wrapped_at, remove } => {
                put("role_id", read(role_id, "the role id")?.expose());
                if let Some(path) = secret_id {
                    let secret_id = match wrapped_at {
                        None => kept(&mut self.secret_id, path, "the secret id", *remove)?,
                        Some(at) => self.unwrapped(client, path, at, *remove).await?,
                    };
                    put("secret_id", secret_id.expose());
                }
            }
            Method::Cert { .. } => {}
            Method::TokenFile => return Ok((Shown::Token(read(&auth.token_path, "the token")?), None)),
            Method::None => return Err(Failure::new(Class::Config, "there is no auth method to log in with")),
        }
        Ok((Shown::Body(body), bearer))
    }

    /// The secret id behind a wrapping token, which must have been made where it is said to: another one would be
    /// somebody's who took it out of the wrapping first.
    async fn unwrapped(
        &mut self,
        client: &Client,
        path: &Path,
        at: &str,
        remove: bool,
    ) -> Result<SecretString, Failure> {
        if !path.exists()
            && let Some(known) = &self.secret_id
        {
            return Ok(known.duplicate());
        }
        let token = read(path, "the wrapped secret id")?;
        let refused =
            |reason: String| Failure::new(Class::Auth, format!("the wrapped secret id {}: {reason}", path.display()));
        let failed = |error: ClientError| refused(error.to_string());
        let body = json!({ "token": token.expose() });
        let found = client.without_token().write("sys/wrapping/lookup", body).await.map_err(failed)?;
        let made_at =
            found.and_then(|found| found.data).and_then(|data| Some(data.get("creation_path")?.as_str()?.to_owned()));
        if made_at.as_deref() != Some(at.trim_matches('/')) {
            let made_at = made_at.unwrap_or_default();
            return Err(refused(format!("it was wrapped at {made_at:?}, not at {at:?}: somebody may have read it")));
        }
        let call = Call { method: http::Method::PUT, path: "sys/wrapping/unwrap".to_owned(), ..Call::default() };
        let unwrapped = client.with_token(token).envelope(call).await.map_err(failed)?;
        let secret_id = unwrapped.and_then(|envelope| envelope.data);
        let secret_id = secret_id.as_ref().and_then(|data| data.get("secret_id")?.as_str()).map(SecretString::new);
        let secret_id = secret_id.ok_or_else(|| refused("there is no secret_id in it".to_owned()))?;
        self.secret_id = Some(secret_id.duplicate());
        if remove {
            gone(path)?;
        }
        Ok(secret_id)
    }
}

/// What the server says about a token that somebody else made.
pub(super) async fn look_up(client: &Client) -> Result<AuthInfo, ClientError> {
    let envelope = client.read("auth/token/lookup-self").await?;
    let data = Value::Object(envelope.and_then(|envelope| envelope.data).unwrap_or_default());
    let policies = data["policies"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(AuthInfo {
        lease_duration: data["ttl"].as_u64().unwrap_or(0),
        renewable: data["renewable"].as_bool().unwrap_or(false),
        policies: policies.map(str::to_owned).collect(),
        metadata: serde_json::from_value(data["meta"].clone()).ok(),
        ..AuthInfo::default()
    })
}

fn kept(known: &mut Option<SecretString>, path: &PathBuf, what: &str, remove: bool) -> Result<SecretString, Failure> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && known.is_some() => {}
        _ => {
            *known = Some(read(path, what)?);
            if remove {
                gone(path)?;
            }
        }
    }
    known.as_ref().map(SecretString::duplicate).ok_or_else(|| Failure::new(Class::Auth, format!("{what}: not read")))
}

fn read(path: &Path, what: &str) -> Result<SecretString, Failure> {
    let failed = |reason: String| Failure::new(Class::Auth, format!("{what} {}: {reason}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let text = SecretString::new(text);
    let trimmed = SecretString::new(text.expose().trim());
    if trimmed.is_empty() { Err(failed("the file is empty".to_owned())) } else { Ok(trimmed) }
}

fn gone(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| {
        let text = format!("cannot remove {} after reading (it is configured to be removed): {error}", path.display());
        Failure::new(Class::Auth, text)
    })
}
