//! `seal "static"`, or people with key shares.

use std::path::{Path, PathBuf};

use holdfast_secret::{SecretBytes, SecretString};

use super::Error;
use holdfast_hcl::Stanza;

/// Who keeps the root key.
#[derive(Clone, Debug, Default)]
pub enum SealConfig {
    /// People, with key shares.
    #[default]
    Shamir,
    /// A key that the server is given.
    Static {
        /// Wraps and unwraps.
        current: StaticKey,
        /// Still unwraps, after a change of key.
        previous: Option<StaticKey>,
    },
}

/// A key under its id.
#[derive(Clone, Debug)]
pub struct StaticKey {
    /// Stored with what it wraps.
    pub id: String,
    /// Where it comes from.
    pub source: KeySource,
}

/// Where a key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// `file:///path`
    File(PathBuf),
    /// `env://NAME`
    Environment(String),
    /// The configuration itself: for tries only.
    Literal(std::sync::Arc<SecretString>),
}

impl SealConfig {
    /// Reads the stanza; also whether it is disabled, as the one before a change of seals.
    pub fn read(kind: &str, stanza: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<(Self, bool), Error> {
        let seal = match kind {
            "shamir" => Self::Shamir,
            "static" => {
                let current = StaticKey {
                    id: stanza.required("current_key_id")?,
                    source: KeySource::read(&stanza.required("current_key")?),
                };
                let previous = match stanza.string("previous_key")? {
                    Some(key) => {
                        Some(StaticKey { id: stanza.required("previous_key_id")?, source: KeySource::read(&key) })
                    }
                    None => None,
                };
                if matches!(current.source, KeySource::Literal(_)) {
                    warnings.push(
                        "seal \"static\": the key stands in the configuration itself; use file:///path".to_owned(),
                    );
                }
                Self::Static { current, previous }
            }
            other => return Err(stanza.wrong("", format!("{other:?} is not supported; use static or shamir")).into()),
        };
        let disabled = stanza.bool("disabled")?.unwrap_or(false);
        stanza.finish(warnings);
        Ok((seal, disabled))
    }
}

impl KeySource {
    fn read(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("file://") {
            return Self::File(PathBuf::from(path));
        }
        if let Some(name) = text.strip_prefix("env://") {
            return Self::Environment(name.to_owned());
        }
        if Path::new(text).is_absolute() && !text.ends_with('=') {
            return Self::File(PathBuf::from(text));
        }
        Self::Literal(std::sync::Arc::new(SecretString::new(text)))
    }

    /// The bytes of the key as they stand there: raw, hexadecimal or base64.
    pub fn load(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<SecretBytes, Error> {
        match self {
            Self::File(path) => {
                std::fs::read(path).map(SecretBytes::new).map_err(|reason| Error::Read { path: path.clone(), reason })
            }
            Self::Environment(name) => {
                environment(name).map(|text| SecretBytes::new(text.into_bytes())).ok_or_else(|| Error::Environment {
                    name: name.clone(),
                    message: "missing; it holds the static seal key".to_owned(),
                })
            }
            Self::Literal(text) => Ok(SecretBytes::new(text.expose().as_bytes())),
        }
    }
}
