//! Formats: templates that have a name.

use super::{Error, value::wrong};

/// `key=value` lines, sorted by key.
const LINES: &str = "{{ range $k, $v := . }}{{ $k }}={{ $v }}\n{{ end }}";
const MAP: &str = "{{ range $k, $v := . }}{{ $k }}: {{ $v }}\n{{ end }}";
const DOTENV: &str = "{{ dotenv . }}";
const PEM: &str = "{{ pem . }}";
const PROPERTIES: &str = "{{ properties . }}";
const JSON: &str = "{{ . | toUnescapedJSON }}";
const YAML: &str = "{{ . | toYAML }}";

/// The template of a format.
pub(super) fn template(annotation: &str, format: &str) -> Result<String, Error> {
    let text = match format {
        "lines" => LINES,
        "map" => MAP,
        "dotenv" | "env" => DOTENV,
        "pem" => PEM,
        "properties" => PROPERTIES,
        "json" => JSON,
        "yaml" => YAML,
        _ => {
            let field = format.strip_prefix("raw:").filter(|field| {
                !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
            });
            let Some(field) = field else {
                let reason = format!("{format:?}: use lines, map, dotenv, json, pem, properties, yaml or raw:FIELD");
                return Err(wrong(annotation, reason));
            };
            return Ok(format!("{{{{ index . \"{field}\" }}}}"));
        }
    };
    Ok(text.to_owned())
}
