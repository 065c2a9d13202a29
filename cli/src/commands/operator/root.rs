//! `operator generate-root`

use base64::{Engine, engine::general_purpose};
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use crate::{
    failure::{During, Failure},
    format::{self, cell},
    prompt,
    session::Session,
};

/// Characters of a root token, and so of the password that hides it.
const OTP_LENGTH: usize = 28;

/// Make a root token with shares of the unseal key. Without a flag: give a share.
#[derive(Args)]
pub struct GenerateRoot {
    /// Begin.
    #[arg(long)]
    init: bool,
    /// Give up.
    #[arg(long)]
    cancel: bool,
    /// Show how far it is.
    #[arg(long)]
    status: bool,
    /// Make the token readable: needs -otp.
    #[arg(long, value_name = "ENCODED")]
    decode: Option<String>,
    /// One-time password that the token is hidden with.
    #[arg(long, value_name = "TEXT")]
    otp: Option<String>,
    /// File with a public PGP key to encrypt the token to, instead of a one-time password.
    #[arg(long, value_name = "FILE", conflicts_with = "otp")]
    pgp_key: Option<String>,
    /// Make a one-time password that fits.
    #[arg(long)]
    generate_otp: bool,
    /// Number of the attempt, as -init showed it.
    #[arg(long)]
    nonce: Option<String>,
    /// The share; better typed at the prompt, or - for standard input.
    key: Option<String>,
}

impl GenerateRoot {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        const PATH: &str = "sys/generate-root/attempt";
        if let Some(encoded) = &self.decode {
            let otp = self.otp.as_deref().ok_or_else(|| Failure::local("-decode needs -otp"))?;
            let token = decode(encoded, otp).ok_or_else(|| Failure::local("Error decoding: wrong -otp or token"))?;
            return session.value(&json!({ "token": token }), || token.clone());
        }
        if self.generate_otp {
            let otp = holdfast_base::id::base62(&holdfast_base::SystemEntropy, OTP_LENGTH);
            return session.value(&json!({ "otp": otp }), || otp.clone());
        }
        if self.cancel {
            api.delete(PATH).await.during("canceling root generation")?;
            session.say("Success! Root token generation canceled (if it was started)");
            return Ok(());
        }
        let status = if self.init {
            let body = match (self.otp, &self.pgp_key) {
                (_, Some(file)) => json!({ "pgp_key": super::pgp::read(file)? }),
                (Some(otp), None) => json!({ "otp": otp }),
                (None, None) => json!({}),
            };
            api.bare(Method::PUT, PATH, Some(body)).await.during("initializing root generation")?
        } else if self.status {
            api.bare(Method::GET, PATH, None).await.during("getting root generation status")?
        } else {
            let now = api.bare(Method::GET, PATH, None).await.during("getting root generation status")?;
            if now.get("started") != Some(&Value::Bool(true)) {
                return Err(Failure::local("No root generation is in progress: start one with -init"));
            }
            let nonce = self.nonce.unwrap_or_else(|| cell(&now, "nonce"));
            let key = prompt::argument(self.key, "Unseal Key", session.asks())?;
            let body = json!({ "key": key.expose().trim(), "nonce": nonce });
            let update = api.bare(Method::PUT, "sys/generate-root/update", Some(body)).await;
            update.during("posting unseal key")?
        };
        session.value(&json!(status), || table(&status))
    }
}

fn table(status: &Map<String, Value>) -> String {
    let mut rows = vec![
        ("Nonce".to_owned(), cell(status, "nonce")),
        ("Started".to_owned(), cell(status, "started")),
        ("Progress".to_owned(), format!("{}/{}", cell(status, "progress"), cell(status, "required"))),
        ("Complete".to_owned(), cell(status, "complete")),
    ];
    let token = [cell(status, "encoded_token"), cell(status, "encoded_root_token")];
    for (title, value) in [
        ("Encoded Token", token.into_iter().find(|token| !token.is_empty()).unwrap_or_default()),
        ("PGP Fingerprint", cell(status, "pgp_fingerprint")),
        ("OTP", cell(status, "otp")),
        ("OTP Length", cell(status, "otp_length")),
    ] {
        if !value.is_empty() {
            rows.push((title.to_owned(), value));
        }
    }
    format::key_value(&rows)
}

fn decode(encoded: &str, otp: &str) -> Option<String> {
    let bytes = general_purpose::STANDARD_NO_PAD.decode(encoded.trim().trim_end_matches('=')).ok()?;
    if bytes.len() != otp.len() {
        return None;
    }
    String::from_utf8(bytes.iter().zip(otp.bytes()).map(|(a, b)| a ^ b).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back() {
        let (token, otp) = ("hvs.abcdefghijklmnopqrstuvwx", "0123456789012345678901234567");
        let hidden: Vec<u8> = token.bytes().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
        let encoded = general_purpose::STANDARD_NO_PAD.encode(hidden);
        assert_eq!(decode(&encoded, otp).as_deref(), Some(token));
        assert_eq!(decode(&encoded, "short"), None);
    }
}
