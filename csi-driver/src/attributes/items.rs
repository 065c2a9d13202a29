//! The attribute `items`: a YAML list of files.

use std::collections::BTreeMap;

use holdfast_template::{Options, Template};
use serde::Deserialize;

use super::{
    Content, Encoding, File, Origin,
    names::{check_file_name, check_object_name, check_path, first_line, parse_mode, unknown},
};
use crate::status::Failure;

const KEYS: [&str; 8] = ["path", "key", "file", "mode", "template", "credential", "format", "passwordKey"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    path: Option<String>,
    key: Option<String>,
    file: Option<String>,
    mode: Option<String>,
    template: Option<String>,
    credential: Option<String>,
    format: Option<String>,
    password_key: Option<String>,
}

/// Reads the list.
pub fn parse(text: &str) -> Result<Vec<File>, Failure> {
    let bad = |reason: String| Failure::Invalid(format!("volume attribute items: {reason}"));
    // First as loose values, so that a misspelt key gets an answer of its own.
    let loose: Vec<BTreeMap<String, serde_json::Value>> = serde_saphyr::from_str(text)
        .map_err(|error| bad(format!("it is to be a YAML list of {{path, key, file, …}}: {}", first_line(&error))))?;
    for (index, item) in loose.iter().enumerate() {
        for key in item.keys() {
            if !KEYS.contains(&key.as_str()) {
                return Err(unknown(&format!("items[{index}]: key"), key, &KEYS));
            }
        }
    }
    let items: Vec<Item> = serde_saphyr::from_str(text).map_err(|error| bad(first_line(&error)))?;
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| item.file().map_err(|reason| Failure::Invalid(format!("items[{index}]: {reason}"))))
        .collect()
}

// === impl Item ===

impl Item {
    fn file(self) -> Result<File, String> {
        let origin = self.origin()?;
        let name = match (&self.file, &origin, &self.key) {
            (Some(file), _, _) => file.clone(),
            (None, Some(Origin::Credential(name)), None) => name.clone(),
            (None, Some(_), Some(key)) => key.clone(),
            (None, Some(origin), None) => origin.name().rsplit('/').next().unwrap_or_default().to_owned(),
            (None, _, _) => return Err("give file".to_owned()),
        };
        check_file_name(&name)?;
        let mode = self.mode.as_deref().map(parse_mode).transpose()?;
        let content = self.content(&origin)?;
        Ok(File { name, origin, content, mode })
    }

    fn origin(&self) -> Result<Option<Origin>, String> {
        match (&self.path, &self.credential) {
            (Some(_), Some(_)) => Err("path and credential exclude each other".to_owned()),
            (Some(path), None) => Ok(Some(Origin::Path(check_path(path)?))),
            (None, Some(name)) => {
                check_object_name(name).map_err(|failure| failure.to_string())?;
                Ok(Some(Origin::Credential(name.clone())))
            }
            (None, None) if self.template.is_some() => Ok(None),
            (None, None) => Err("give path or credential".to_owned()),
        }
    }

    fn content(&self, origin: &Option<Origin>) -> Result<Content, String> {
        let format = self.format.as_deref();
        if self.password_key.is_some() && format != Some("pkcs12") {
            return Err("passwordKey is for format pkcs12".to_owned());
        }
        match (&self.template, &self.key) {
            (Some(_), Some(_)) => Err("template and key exclude each other".to_owned()),
            (Some(_), None) if format.is_some() => Err("template and format exclude each other".to_owned()),
            (Some(text), None) => Ok(Content::Template(parse_template(text)?)),
            (None, Some(key)) => match format {
                None | Some("text" | "raw") => Ok(Content::Field(key.clone(), Encoding::Text)),
                Some("base64") => Ok(Content::Field(key.clone(), Encoding::Base64)),
                Some("hex") => Ok(Content::Field(key.clone(), Encoding::Hex)),
                Some(other) => Err(format!("format {other:?} with key: use raw, base64 or hex")),
            },
            (None, None) => match format {
                None if matches!(origin, Some(Origin::Credential(_))) => Ok(Content::Directory),
                None | Some("json") => Ok(Content::Json),
                Some("directory") => Ok(Content::Directory),
                Some("env" | "dotenv") => Ok(Content::Env),
                Some("properties") => Ok(Content::Properties),
                Some("yaml") => Ok(Content::Yaml),
                Some("pem") => Ok(Content::Pem),
                Some("tls") => Ok(Content::Tls),
                Some("pkcs12") => Ok(Content::Pkcs12 { password_key: self.password_key.clone() }),
                Some(other) => Err(format!(
                    "format {other:?} without key: use json, env, properties, yaml, directory, pem, tls or pkcs12"
                )),
            },
        }
    }
}

fn parse_template(text: &str) -> Result<Template, String> {
    let options = Options { error_on_missing_key: true, ..Options::default() };
    Template::parse_with(text, options).map_err(|error| error.to_string())
}
