//! `audit "file" "name" { options { … } }`: devices that are there from the start, sealed or not, `audit_directories` and
//! `accept_restored_store`.

use std::{collections::BTreeMap, path::PathBuf};

use holdfast_core::{AuditConfig, ConfiguredDevice};
use holdfast_hcl::Item;

use super::Error;
use holdfast_hcl::Stanza;

/// Reads all of them.
pub fn read(top: &Stanza<'_>, config: &mut AuditConfig, warnings: &mut Vec<String>) -> Result<(), Error> {
    for (labels, stanza) in top.blocks("audit", 2)? {
        let (kind, name) = (labels[0].clone(), labels[1].trim_matches('/').to_owned());
        if !matches!(kind.as_str(), "file" | "socket" | "syslog") {
            return Err(stanza
                .wrong("", format!("type {kind:?} is not known, use \"file\", \"socket\" or \"syslog\""))
                .into());
        }
        if name.is_empty() || config.devices.iter().any(|device| device.path == name) {
            return Err(stanza.wrong("", "the name is empty or taken").into());
        }
        let mut options = BTreeMap::new();
        for (_, found) in stanza.blocks("options", 0)? {
            for item in &found.body().items {
                let Item::Attribute(attribute) = item else {
                    return Err(stanza.wrong("options", "an option is text, a number or a truth value").into());
                };
                let value = attribute.value.to_json();
                let value = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
                options.insert(attribute.key.clone(), value);
            }
        }
        let description = stanza.string("description")?.unwrap_or_default();
        stanza.ignore(&["local"]);
        stanza.finish(warnings);
        config.devices.push(ConfiguredDevice { path: name, kind, description, options });
    }
    if top.value("audit_directories").is_some() {
        config.folders = Some(top.list("audit_directories")?.into_iter().map(PathBuf::from).collect());
    }
    config.accept_restored = top.string("accept_restored_store")?.or(config.accept_restored.take());
    Ok(())
}
