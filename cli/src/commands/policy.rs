//! `policy`

mod explain;
mod layout;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::{
    failure::{During, Failure},
    format, input,
    session::Session,
};

/// Policies.
#[derive(Subcommand)]
pub enum Policy {
    /// Show the names.
    List,
    /// Show the text of a policy.
    Read {
        /// Name.
        name: String,
    },
    /// Write a policy.
    Write {
        /// Name.
        name: String,
        /// File with its text, HCL or JSON; - for standard input.
        file: String,
    },
    /// Delete a policy.
    Delete {
        /// Name.
        name: String,
    },
    /// Tell why a request would be allowed or denied, and which policy decides.
    Explain(Box<explain::Explain>),
    /// Indent a policy file in place. Refuses what is no HCL.
    Fmt {
        /// File.
        file: String,
    },
}

impl Policy {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List => {
                let envelope = api.list("sys/policies/acl").await.during("listing policies")?;
                let keys = envelope.and_then(|envelope| envelope.data?.remove("keys")).unwrap_or(json!([]));
                let names: Vec<String> = keys.as_array().into_iter().flatten().map(format::plain).collect();
                session.value(&keys, || names.join("\n"))
            }
            Self::Read { name } => {
                let name = name.trim().to_lowercase();
                let envelope = api.secret(Method::GET, &format!("sys/policies/acl/{name}"), "", None).await;
                let envelope = match envelope {
                    Err(error) if error.status() == Some(404) => None,
                    other => other.during(format_args!("reading policy named {name}"))?,
                };
                let text = envelope.and_then(|envelope| envelope.data?.remove("policy"));
                let text = text.ok_or_else(|| Failure::Nothing(format!("No policy named: {name}")))?;
                session.value(&json!({ "policy": text }), || format::plain(&text).trim().to_owned())
            }
            Self::Write { name, file } => {
                let name = name.trim().to_lowercase();
                let text = if file == "-" { input::text("-")? } else { input::file(&file)? };
                let written = api.write(&format!("sys/policies/acl/{name}"), json!({ "policy": text })).await;
                let envelope = written.during("uploading policy")?;
                if let Some(envelope) = &envelope {
                    session.warnings(envelope);
                }
                session.say(&format!("Success! Uploaded policy: {name}"));
                Ok(())
            }
            Self::Delete { name } => {
                let name = name.trim().to_lowercase();
                api.delete(&format!("sys/policies/acl/{name}")).await.during(format_args!("deleting {name}"))?;
                session.say(&format!("Success! Deleted policy: {name}"));
                Ok(())
            }
            Self::Explain(explain) => explain.run(session).await,
            Self::Fmt { file } => {
                let text = input::file(&file)?;
                holdfast_hcl::parse(&text)
                    .map_err(|error| Failure::local(format!("failed to parse policy: {error}")))?;
                std::fs::write(&file, layout::format(&text))
                    .map_err(|error| Failure::local(format!("Error writing {file}: {error}")))?;
                session.value(&Value::from(file.clone()), || format!("Success! Formatted policy: {file}"))
            }
        }
    }
}
