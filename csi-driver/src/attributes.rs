//! The volume's attributes: text of the pod's author, read into a [`Plan`]. Pure; what is not understood is refused with
//! the nearest word that would be.

pub mod class;
mod items;
mod names;

use std::{collections::BTreeMap, time::Duration};

use holdfast_template::Template;

pub use self::names::check_file_name;
use self::names::{check_object_name, unknown};
use crate::status::Failure;

/// Prefix of the keys that kubelet adds.
const KUBELET_PREFIX: &str = "csi.storage.k8s.io/";
const ATTRIBUTES: [&str; 5] = ["credentials", "items", "refresh", "role", CLASS];
/// The attribute that names a SecretProviderClass; it stands alone.
pub const CLASS: &str = "secretProviderClass";
const MAX_FILES: usize = 256;
/// How often unleased paths are read, unless said otherwise, while changes are not heard of.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(1);

/// Beyond it times would be sums that no clock has.
const LONGEST_REFRESH: Duration = Duration::from_secs(30 * 86_400);

/// What a volume is to hold.
#[derive(Debug)]
pub struct Plan {
    /// Role to log in with; empty: the server chooses the service account's.
    pub role: String,
    /// Mount of the auth method; `None`: the driver's.
    pub mount: Option<String>,
    /// Namespace of the server to log in to and read from.
    pub namespace: Option<String>,
    /// Audience of the pod's token; `None`: the driver's.
    pub audience: Option<String>,
    /// How often unleased paths are read; `None`: as it is necessary.
    pub refresh: Option<Duration>,
    /// The files, in the order of the attributes.
    pub files: Vec<File>,
}

/// One file, or one directory with a file for each field.
#[derive(Debug)]
pub struct File {
    /// Path below the volume's root.
    pub name: String,
    /// What it is made of; `None` for a template that names its paths itself.
    pub origin: Option<Origin>,
    /// How it is made.
    pub content: Content,
    /// Permission bits asked for.
    pub mode: Option<u32>,
}

/// Where data comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A path on the server.
    Path(String),
    /// A DynamicCredential object of the pod's namespace.
    Credential(String),
    /// A path with arguments.
    Call(Call),
}

/// A read with a query, or a write that answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The path.
    pub path: String,
    /// Its query, escaped.
    pub query: String,
    /// The JSON object of a write.
    pub body: Option<String>,
}

/// How the text of a field becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Text,
    /// From base64.
    Base64,
    /// From hexadecimal.
    Hex,
}

/// How a file is made of the data.
pub enum Content {
    /// `<name>/<field>` for each field.
    Directory,
    /// One field.
    Field(String, Encoding),
    /// All fields as one JSON object.
    Json,
    /// The whole answer as a JSON object, as Vault's provider writes it.
    Envelope,
    /// All fields as `KEY="value"` lines.
    Env,
    /// All fields as a Java properties file.
    Properties,
    /// All fields as a YAML map.
    Yaml,
    /// Private key, certificate and chain, one after the other.
    Pem,
    /// `<name>/tls.crt`, `<name>/tls.key`, `<name>/ca.crt`.
    Tls,
    /// Private key, certificate and chain as a keystore.
    Pkcs12 {
        /// Field with its password; `changeit` without.
        password_key: Option<String>,
    },
    /// A template over the fields.
    Template(Template),
}

impl Origin {
    /// As people know it.
    pub fn name(&self) -> &str {
        match self {
            Self::Path(name) | Self::Credential(name) => name,
            Self::Call(call) => &call.path,
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "Directory",
            Self::Field(..) => "Field",
            Self::Json => "Json",
            Self::Envelope => "Envelope",
            Self::Env => "Env",
            Self::Properties => "Properties",
            Self::Yaml => "Yaml",
            Self::Pem => "Pem",
            Self::Tls => "Tls",
            Self::Pkcs12 { .. } => "Pkcs12",
            Self::Template(_) => "Template",
        })
    }
}

// === impl Plan ===

impl Plan {
    /// Reads the attributes of a volume. Keys of kubelet are passed over.
    pub fn parse<'a>(attributes: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Self, Failure> {
        let own: BTreeMap<&str, &str> = attributes
            .filter(|(key, _)| !key.starts_with(KUBELET_PREFIX))
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if own.contains_key(CLASS) && own.len() > 1 {
            return Err(Failure::Invalid(format!("volume attribute {CLASS} stands alone: the class says the rest")));
        }
        for key in own.keys() {
            if !ATTRIBUTES.contains(key) {
                return Err(unknown("volume attribute", key, &ATTRIBUTES));
            }
        }
        let mut files = Vec::new();
        for name in own.get("credentials").copied().unwrap_or_default().split(',').map(str::trim) {
            if !name.is_empty() {
                check_object_name(name)?;
                files.push(File {
                    name: name.to_owned(),
                    origin: Some(Origin::Credential(name.to_owned())),
                    content: Content::Directory,
                    mode: None,
                });
            }
        }
        if let Some(text) = own.get("items") {
            files.extend(items::parse(text)?);
        }
        if files.is_empty() {
            return Err(Failure::Invalid(
                "the volume names nothing: give attribute credentials (DynamicCredential objects) or items (paths and \
                 templates)"
                    .to_owned(),
            ));
        }
        if files.len() > MAX_FILES {
            return Err(Failure::Invalid(format!(
                "{} files are more than the {MAX_FILES} a volume may have",
                files.len()
            )));
        }
        check_names(&files)?;
        let role = own.get("role").copied().unwrap_or_default().to_owned();
        Ok(Self { role, mount: None, namespace: None, audience: None, refresh: refresh(&own)?, files })
    }

    /// The names of all DynamicCredential objects in the plan, each once.
    pub fn credentials(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for file in &self.files {
            if let Some(Origin::Credential(name)) = &file.origin
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }
}

fn refresh(own: &BTreeMap<&str, &str>) -> Result<Option<Duration>, Failure> {
    let Some(text) = own.get("refresh") else { return Ok(None) };
    let refresh = holdfast_base::duration::parse(text)
        .map_err(|error| Failure::Invalid(format!("volume attribute refresh: {error}")))?;
    if refresh < Duration::from_millis(500) {
        return Err(Failure::Invalid(format!("volume attribute refresh: {text} is less than the least, 500ms")));
    }
    if refresh > LONGEST_REFRESH {
        return Err(Failure::Invalid(format!("volume attribute refresh: {text} is more than the most, 30d")));
    }
    Ok(Some(refresh))
}

/// No file twice, and no file where another needs a directory.
fn check_names(files: &[File]) -> Result<(), Failure> {
    for (index, file) in files.iter().enumerate() {
        for other in &files[..index] {
            let (a, b) = (file.name.as_str(), other.name.as_str());
            if a == b {
                return Err(Failure::Invalid(format!("file {a:?} is named twice: give each its own file")));
            }
            let (short, long) = if a.len() < b.len() { (file, other) } else { (other, file) };
            let below = long.name.strip_prefix(&short.name).is_some_and(|rest| rest.starts_with('/'));
            if below && !matches!(short.content, Content::Directory | Content::Tls) {
                return Err(Failure::Invalid(format!(
                    "{:?} is a file, and {:?} would lie in it",
                    short.name, long.name
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(attributes: &[(&str, &str)]) -> Result<Plan, Failure> {
        let map: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Plan::parse(map.iter())
    }

    fn refusal(attributes: &[(&str, &str)]) -> String {
        match parse(attributes).unwrap_err() {
            Failure::Invalid(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let plan = parse(&[
            ("csi.storage.k8s.io/pod.name", "orders-1"),
            ("credentials", "orders-ro"),
            (
                "items",
                "- {path: k8s/shop/kv/data/orders/api, key: token, file: api-token, mode: \"0400\"}\n- {template: \
                 'jdbc:postgresql://pg/orders?user={{ .username }}&password={{ .password }}', credential: orders-ro, \
                 file: jdbc.url}\n",
            ),
        ])
        .unwrap();
        assert_eq!((plan.role.as_str(), plan.refresh, plan.files.len()), ("", None, 3));
        assert_eq!(plan.credentials(), ["orders-ro"]);
        let names: Vec<_> = plan.files.iter().map(|file| (file.name.as_str(), file.mode)).collect();
        assert_eq!(names, [("orders-ro", None), ("api-token", Some(0o400)), ("jdbc.url", None)]);
        assert!(matches!(&plan.files[1].content, Content::Field(key, Encoding::Text) if key == "token"));
        assert!(matches!(plan.files[2].content, Content::Template(_)));
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_right_one() {
        let text = refusal(&[("credential", "a")]);
        assert_eq!(text, "volume attribute \"credential\" is not known; did you mean credentials?");
        let text = refusal(&[("items", "- {path: a/b, kye: x}")]);
        assert_eq!(text, "items[0]: key \"kye\" is not known; did you mean key?");
        assert!(
            refusal(&[("zzzzzzzz", "a")]).contains("known are credentials, items, refresh, role, secretProviderClass")
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (items, words) in [
            ("- {path: a/b, credential: c, key: k}", "exclude each other"),
            ("- {key: k, file: f}", "give path or credential"),
            ("- {path: a/b, key: k, file: ../f}", "components that start with .."),
            ("- {path: a/b, key: k, file: /etc/f}", "relative path"),
            ("- {path: a/b, key: k, file: .holdfast/x}", "driver's own"),
            ("- {path: a/b, key: k, file: ..data}", "start with .."),
            ("- {path: a/b, key: k, mode: \"9\"}", "octal"),
            ("- {path: ../b, key: k}", "below /v1/"),
            ("- {path: a/b, key: k, format: yaml}", "use raw, base64 or hex"),
            ("- {path: a/b, file: x}\n- {path: a/c, file: x}", "named twice"),
            ("- {path: a/b, file: x}\n- {path: a/c, file: x/y}", "would lie in it"),
            ("- {path: a/b, format: toml}", "use json, env, properties, yaml"),
            ("- {path: a/b, passwordKey: p}", "format pkcs12"),
            ("path: a", "YAML list"),
        ] {
            let text = refusal(&[("items", items)]);
            assert!(text.contains(words), "{items}: {text}");
        }
        assert!(refusal(&[]).contains("names nothing"));
        assert!(refusal(&[("credentials", "Orders")]).contains("no name of a DynamicCredential"));
        assert!(refusal(&[("credentials", "a"), ("refresh", "1ms")]).contains("least"));
        assert!(refusal(&[("credentials", "a"), ("refresh", "18446744073709551615")]).contains("most"));
    }

    #[test]
    fn a_mode_without_quotes_is_octal_too() {
        let plan = parse(&[("items", "- {path: a/b, key: k, mode: 0400}\n- {path: a/b, key: l, mode: 0640}")]).unwrap();
        assert_eq!(plan.files.iter().map(|file| file.mode).collect::<Vec<_>>(), [Some(0o400), Some(0o640)]);
    }

    #[test]
    fn a_file_may_lie_beside_the_fields_of_a_credential() {
        let plan =
            parse(&[("credentials", "db"), ("items", "- {credential: db, key: username, file: db/user}")]).unwrap();
        assert_eq!(plan.files.len(), 2);
    }
}
