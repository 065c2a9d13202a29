//! Devices and the broker: nothing in clear, nothing lost, nothing answered unaudited.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod broker;
mod chain;
mod file;
mod lines;
mod past;
mod remote;

use std::{collections::BTreeMap, path::Path};

use holdfast_audit::{Device, DeviceSpec};
use holdfast_secret::SecretBytes;

/// The specification of a file device.
pub fn spec(name: &str, file: &Path, more: &[(&str, &str)]) -> DeviceSpec {
    let mut options = BTreeMap::from([("file_path".to_owned(), file.display().to_string())]);
    options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let (path, kind, key) = (name.to_owned(), "file".to_owned(), SecretBytes::new(vec![7; 32]));
    DeviceSpec { path, kind, options, key, chain: None, folders: None }
}

/// An opened file device.
pub fn device(name: &str, file: &Path) -> Device {
    Device::open(spec(name, file, &[])).unwrap()
}
