//! `holdfast-operator crds`: the custom resource definitions as YAML, one file each.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;
use holdfast_crd_types::crds;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// File name and text of every definition.
pub fn manifests() -> anyhow::Result<Vec<(String, String)>> {
    crds()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            let value = serde_json::to_value(&crd).with_context(|| name.clone())?;
            let text = serde_saphyr::to_string(&Plain(&value)).with_context(|| name.clone())?;
            Ok((name, format!("# Made by `holdfast-operator crds`; do not edit.\n{}\n", text.trim_end())))
        })
        .collect()
}

/// A JSON value whose numbers are numbers to every serialiser: serde_json's exact numbers are a private object to all
/// but its own.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(number) => serializer.serialize_i64(number),
                None => serializer.serialize_f64(number.as_f64().unwrap_or_default()),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(map) => serializer.collect_map(map.iter().map(|(key, value)| (key, Plain(value)))),
            other => other.serialize(serializer),
        }
    }
}

/// Prints the definitions, or writes them into a folder.
pub fn write(out: Option<&Path>) -> anyhow::Result<()> {
    let manifests = manifests()?;
    let Some(folder) = out else {
        let mut all = String::new();
        for (_, text) in &manifests {
            write!(all, "---\n{text}")?;
        }
        std::io::Write::write_all(&mut std::io::stdout(), all.as_bytes())?;
        return Ok(());
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, text) in &manifests {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_tree_are_fresh() {
        for folder in ["../crds", "../charts/holdfast/files/crds"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            if folder.ends_with("files/crds") && !folder.exists() {
                continue;
            }
            for (name, text) in manifests().unwrap() {
                let stored = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
                assert!(stored == text, "{name} in {} is out of date: run `make crds`", folder.display());
            }
        }
    }

    #[test]
    fn what_is_written_is_what_was_meant() {
        for ((_, text), crd) in manifests().unwrap().iter().zip(crds()) {
            let read: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            assert_eq!(read["metadata"]["name"], serde_json::json!(crd.metadata.name));
            assert!(!text.contains("$serde_json"), "a number that is no number");
            let rules = |value: &serde_json::Value| value.to_string().matches("x-kubernetes-validations").count();
            assert_eq!(rules(&read), rules(&serde_json::to_value(&crd).unwrap()));
        }
    }
}
