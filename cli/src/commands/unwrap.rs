//! `unwrap`

use clap::Args;
use holdfast_secret::SecretString;

use crate::{
    failure::{During, Failure},
    prompt,
    session::Session,
};

/// Open a wrapped answer.
#[derive(Args)]
pub struct Unwrap {
    /// The wrapping token; - for standard input; without it, the token of this session.
    token: Option<String>,
}

impl Unwrap {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.api().client();
        let client = match self.token.as_deref() {
            None => client.clone(),
            Some("-") => client.with_token(SecretString::new(prompt::standard_input()?.trim())),
            Some(token) => client.with_token(SecretString::new(token)),
        };
        let api = session.api().with_client(client);
        let envelope = api.write("sys/wrapping/unwrap", serde_json::json!({})).await.during("unwrapping")?;
        session.secret_or(envelope.as_ref(), "Successfully unwrapped. There was no data in the wrapped secret.")
    }
}
