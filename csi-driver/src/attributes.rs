//! The volume's attributes: text of the pod's author, read into a [`Plan`]. Pure; what is not understood is refused with
//! the nearest word that would be.

use std::{collections::BTreeMap, time::Duration};

use holdfast_template::{Options, Template};
use serde::Deserialize;

use crate::status::Failure;

/// Prefix of the keys that kubelet adds.
const KUBELET_PREFIX: &str = "csi.storage.k8s.io/";
const ATTRIBUTES: [&str; 4] = ["credentials", "items", "refresh", "role"];
const ITEM_KEYS: [&str; 7] = ["path", "key", "file", "mode", "template", "credential", "format"];
const MAX_FILES: usize = 256;
/// How often unleased paths are read, unless said otherwise.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(1);

/// Beyond it times would be sums that no clock has.
const LONGEST_REFRESH: Duration = Duration::from_secs(30 * 86_400);

/// What a volume is to hold.
#[derive(Debug)]
pub struct Plan {
    /// Role to log in with; empty: the server chooses the service account's.
    pub role: String,
    /// How often unleased paths are read.
    pub refresh: Duration,
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
}

/// How a file is made of the data.
pub enum Content {
    /// `<name>/<field>` for each field.
    Directory,
    /// One field as it is.
    Field(String),
    /// One field, base64-decoded.
    Decoded(String),
    /// All fields as one JSON object.
    Json,
    /// All fields as `KEY="value"` lines.
    Env,
    /// A template over the fields.
    Template(Template),
}

#[derive(Deserialize)]
struct RawItem {
    path: Option<String>,
    key: Option<String>,
    file: Option<String>,
    mode: Option<String>,
    template: Option<String>,
    credential: Option<String>,
    format: Option<String>,
}

impl Origin {
    /// As people know it.
    pub fn name(&self) -> &str {
        match self {
            Self::Path(name) | Self::Credential(name) => name,
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "Directory",
            Self::Field(_) => "Field",
            Self::Decoded(_) => "Decoded",
            Self::Json => "Json",
            Self::Env => "Env",
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
            files.extend(parse_items(text)?);
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
        Ok(Self { role: own.get("role").copied().unwrap_or_default().to_owned(), refresh: refresh(&own)?, files })
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

fn refresh(own: &BTreeMap<&str, &str>) -> Result<Duration, Failure> {
    let Some(text) = own.get("refresh") else { return Ok(DEFAULT_REFRESH) };
    let refresh = holdfast_base::duration::parse(text)
        .map_err(|error| Failure::Invalid(format!("volume attribute refresh: {error}")))?;
    if refresh < Duration::from_millis(500) {
        return Err(Failure::Invalid(format!("volume attribute refresh: {text} is less than the least, 500ms")));
    }
    if refresh > LONGEST_REFRESH {
        return Err(Failure::Invalid(format!("volume attribute refresh: {text} is more than the most, 30d")));
    }
    Ok(refresh)
}

fn parse_items(text: &str) -> Result<Vec<File>, Failure> {
    let bad = |reason: String| Failure::Invalid(format!("volume attribute items: {reason}"));
    // First as loose values, so that a misspelt key gets an answer of its own.
    let loose: Vec<BTreeMap<String, serde_json::Value>> = serde_saphyr::from_str(text)
        .map_err(|error| bad(format!("it is to be a YAML list of {{path, key, file, …}}: {}", first_line(&error))))?;
    for (index, item) in loose.iter().enumerate() {
        for key in item.keys() {
            if !ITEM_KEYS.contains(&key.as_str()) {
                return Err(unknown(&format!("items[{index}]: key"), key, &ITEM_KEYS));
            }
        }
    }
    let raw: Vec<RawItem> = serde_saphyr::from_str(text).map_err(|error| bad(first_line(&error)))?;
    raw.into_iter()
        .enumerate()
        .map(|(index, item)| parse_item(item).map_err(|reason| Failure::Invalid(format!("items[{index}]: {reason}"))))
        .collect()
}

fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn parse_item(item: RawItem) -> Result<File, String> {
    let origin = match (item.path, item.credential) {
        (Some(_), Some(_)) => return Err("path and credential exclude each other".to_owned()),
        (Some(path), None) => Some(Origin::Path(check_path(&path)?)),
        (None, Some(name)) => {
            check_object_name(&name).map_err(|failure| failure.to_string())?;
            Some(Origin::Credential(name))
        }
        (None, None) if item.template.is_some() => None,
        (None, None) => return Err("give path or credential".to_owned()),
    };
    let name = match (item.file, &origin, &item.key) {
        (Some(file), _, _) => file,
        (None, Some(Origin::Credential(name)), None) => name.clone(),
        (None, Some(_), Some(key)) => key.clone(),
        (None, Some(Origin::Path(path)), None) => path.rsplit('/').next().unwrap_or_default().to_owned(),
        (None, _, _) => return Err("give file".to_owned()),
    };
    check_file_name(&name)?;
    let mode = item.mode.as_deref().map(parse_mode).transpose()?;
    let format = item.format.as_deref();
    let content = match (item.template, item.key) {
        (Some(_), Some(_)) => return Err("template and key exclude each other".to_owned()),
        (Some(_), None) if format.is_some() => return Err("template and format exclude each other".to_owned()),
        (Some(text), None) => Content::Template(parse_template(&text)?),
        (None, Some(key)) => match format {
            None | Some("text") => Content::Field(key),
            Some("base64") => Content::Decoded(key),
            Some(other) => return Err(format!("format {other:?} with key: use text or base64")),
        },
        (None, None) => match format {
            Some("directory") => Content::Directory,
            Some("json") => Content::Json,
            Some("env") => Content::Env,
            None if matches!(origin, Some(Origin::Credential(_))) => Content::Directory,
            None => Content::Json,
            Some(other) => return Err(format!("format {other:?} without key: use json, env or directory")),
        },
    };
    Ok(File { name, origin, content, mode })
}

fn parse_template(text: &str) -> Result<Template, String> {
    let options = Options { error_on_missing_key: true, ..Options::default() };
    Template::parse_with(text, options).map_err(|error| error.to_string())
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0o");
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| (0o1..=0o777).contains(mode) && (3..=4).contains(&digits.len()))
        .ok_or_else(|| format!("mode {text:?}: give octal permission bits in quotes, as \"0400\""))
}

fn check_path(path: &str) -> Result<String, String> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("path {path:?}: give a path below /v1/, as k8s/shop/kv/data/orders"));
    }
    if path.chars().any(char::is_control) {
        return Err("path: control characters are not allowed".to_owned());
    }
    Ok(path.to_owned())
}

fn check_object_name(name: &str) -> Result<(), Failure> {
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if fits {
        Ok(())
    } else {
        Err(Failure::Invalid(format!("credential {name:?} is no name of a DynamicCredential object")))
    }
}

/// A relative path of plain components. Names that start with `..` belong to the swap, `.holdfast` to the status.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let bad = |reason: &str| Err(format!("file {name:?}: {reason}"));
    if name.is_empty() || name.starts_with('/') || name.len() > 1024 {
        return bad("give a relative path of at most 1024 bytes");
    }
    for part in name.split('/') {
        match part {
            "" | "." => return bad("empty components and . are not allowed"),
            ".holdfast" => return bad(".holdfast is the driver's own"),
            _ if part.starts_with("..") => return bad("components that start with .. are not allowed"),
            _ if part.len() > 255 => return bad("a component is longer than 255 bytes"),
            _ if part.chars().any(char::is_control) => return bad("control characters are not allowed"),
            _ => {}
        }
    }
    Ok(())
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
            if below && !matches!(short.content, Content::Directory) {
                return Err(Failure::Invalid(format!(
                    "{:?} is a file, and {:?} would lie in it",
                    short.name, long.name
                )));
            }
        }
    }
    Ok(())
}

fn unknown(what: &str, word: &str, known: &[&str]) -> Failure {
    let near = known.iter().map(|known| (distance(word, known), *known)).min();
    let hint = match near {
        Some((distance, near)) if distance <= 2.max(near.len() / 3) => format!("did you mean {near}?"),
        _ => format!("known are {}", known.join(", ")),
    };
    Failure::Invalid(format!("{what} {word:?} is not known; {hint}"))
}

/// Edit distance (Levenshtein), without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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
        assert_eq!((plan.role.as_str(), plan.refresh, plan.files.len()), ("", DEFAULT_REFRESH, 3));
        assert_eq!(plan.credentials(), ["orders-ro"]);
        let names: Vec<_> = plan.files.iter().map(|file| (file.name.as_str(), file.mode)).collect();
        assert_eq!(names, [("orders-ro", None), ("api-token", Some(0o400)), ("jdbc.url", None)]);
        assert!(matches!(&plan.files[1].content, Content::Field(key) if key == "token"));
        assert!(matches!(plan.files[2].content, Content::Template(_)));
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_right_one() {
        let text = refusal(&[("credential", "a")]);
        assert_eq!(text, "volume attribute \"credential\" is not known; did you mean credentials?");
        let text = refusal(&[("items", "- {path: a/b, kye: x}")]);
        assert_eq!(text, "items[0]: key \"kye\" is not known; did you mean key?");
        assert!(refusal(&[("zzzzzzzz", "a")]).contains("known are credentials, items, refresh, role"));
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
            ("- {path: a/b, key: k, format: yaml}", "use text or base64"),
            ("- {path: a/b, file: x}\n- {path: a/c, file: x}", "named twice"),
            ("- {path: a/b, file: x}\n- {path: a/c, file: x/y}", "would lie in it"),
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
