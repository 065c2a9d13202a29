//! Reads one block of a configuration file key by key, and remembers which keys were read: what remains is reported.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_base::duration;

use crate::{Body, Item, Value};

/// A block or key that is wrong. Texts name file and key, and hold no values of secret keys.
#[derive(Debug, thiserror::Error)]
pub enum StanzaError {
    /// A block does not have the form it should.
    #[error("{}: {}{message}", .file.display(), prefix(.place))]
    Shape {
        /// The file.
        file: PathBuf,
        /// The block around it.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A key has no usable value.
    #[error("{}: {place}: {message}", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Block and key.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// A body that says its type, or whose keys are types.
fn types<'a>(body: &'a Body, found: &mut Vec<(String, &'a Body)>) -> bool {
    if let Some(kind) = body.string("type") {
        found.push((kind, body));
        return true;
    }
    body.items.iter().all(|item| match item {
        Item::Block(block) if block.labels.is_empty() => {
            found.push((block.kind.clone(), &block.body));
            true
        }
        Item::Block(_) => false,
        Item::Attribute(attribute) => open(&attribute.value, Some(&attribute.key), found),
    })
}

/// The same of a value: an object or a list of them, below a key that is the type or not.
fn open<'a>(value: &'a Value, label: Option<&str>, found: &mut Vec<(String, &'a Body)>) -> bool {
    match (value, label) {
        (Value::Object(body), Some(label)) => {
            found.push((label.to_owned(), body));
            true
        }
        (Value::Object(body), None) => types(body, found),
        (Value::List(items), label) => items.iter().all(|item| open(item, label, found)),
        _ => false,
    }
}

fn prefix(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("{place}: ") }
}

/// One block of one file.
pub struct Stanza<'a> {
    file: &'a Path,
    /// `listener "tcp"`; empty for the top of the file.
    name: String,
    body: &'a Body,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Stanza<'a> {
    /// The block of this name.
    pub fn new(file: &'a Path, name: impl Into<String>, body: &'a Body) -> Self {
        Self { file, name: name.into(), body, read: RefCell::default() }
    }

    /// Blocks of this kind with so many labels, as stanzas with their labels.
    pub fn blocks(&self, kind: &'static str, labels: usize) -> Result<Vec<(Vec<String>, Stanza<'a>)>, StanzaError> {
        self.read.borrow_mut().insert(kind);
        let found = self.body.blocks(kind, labels).map_err(|error| StanzaError::Shape {
            file: self.file.to_owned(),
            place: self.name.clone(),
            message: error.to_string(),
        })?;
        Ok(found
            .into_iter()
            .map(|found| {
                let labels: Vec<String> = found.labels.iter().map(|label| (*label).to_owned()).collect();
                let quoted: String = labels.iter().map(|label| format!(" {label:?}")).collect();
                let name = [self.name.as_str(), &format!("{kind}{quoted}")].join(" ");
                (labels, Stanza::new(self.file, name.trim_start(), found.body))
            })
            .collect())
    }

    /// Blocks of this kind with their type, whether it is a label (`sink "file" {…}`) or inside (`sink { type = "file" … }`),
    /// both in one body too.
    pub fn typed(&self, kind: &'static str) -> Result<Vec<(String, Stanza<'a>)>, StanzaError> {
        self.read.borrow_mut().insert(kind);
        let mut found = Vec::new();
        for item in self.body.items.iter().filter(|item| item.key() == kind) {
            let complete = match item {
                Item::Block(block) => match block.labels.as_slice() {
                    [] => types(&block.body, &mut found),
                    [label] => {
                        found.push((label.clone(), &block.body));
                        true
                    }
                    _ => false,
                },
                Item::Attribute(attribute) => open(&attribute.value, None, &mut found),
            };
            if !complete {
                return Err(self.wrong(kind, "wants a block with a type, as a label or as a key"));
            }
        }
        let stanza = |(label, body): (String, &'a Body)| {
            let name = [self.name.as_str(), &format!("{kind} {label:?}")].join(" ");
            let stanza = Stanza::new(self.file, name.trim_start(), body);
            stanza.ignore(&["type"]);
            (label, stanza)
        };
        Ok(found.into_iter().map(stanza).collect())
    }

    /// The value of a key.
    pub fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key);
        self.body.attribute(key).filter(|value| **value != Value::Null)
    }

    /// Text; numbers and booleans become text.
    pub fn string(&self, key: &'static str) -> Result<Option<String>, StanzaError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            Value::Bool(truth) => Ok(Some(truth.to_string())),
            _ => Err(self.wrong(key, "text is needed")),
        }
    }

    /// Text that is not empty, or an error that says that it is missing.
    pub fn required(&self, key: &'static str) -> Result<String, StanzaError> {
        self.string(key)?.filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(key, "missing"))
    }

    /// Truth: `true`, `"true"`, `1`.
    pub fn bool(&self, key: &'static str) -> Result<Option<bool>, StanzaError> {
        match self.string(key)?.as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "1" | "t") => Ok(Some(true)),
            Some("false" | "0" | "f") => Ok(Some(false)),
            Some(_) => Err(self.wrong(key, "true or false is needed")),
        }
    }

    /// A whole number that is not negative.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, StanzaError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(key, "a whole number is needed"))
    }

    /// Seconds, or text such as `1h30m`.
    pub fn duration(&self, key: &'static str) -> Result<Option<Duration>, StanzaError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        duration::parse(&text)
            .map(Some)
            .map_err(|_| self.wrong(key, "a duration is needed: seconds, or text such as 1h30m"))
    }

    /// A file name.
    pub fn path(&self, key: &'static str) -> Result<Option<PathBuf>, StanzaError> {
        Ok(self.string(key)?.filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    /// A list of text, or one comma-separated text.
    pub fn list(&self, key: &'static str) -> Result<Vec<String>, StanzaError> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::List(items)) => items
                .iter()
                .map(|item| {
                    item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, "a list of texts is needed"))
                })
                .collect(),
            Some(_) => {
                let text = self.string(key)?.unwrap_or_default();
                Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
        }
    }

    /// Keys that Vault knows and that mean nothing here: they are no reason for a warning.
    pub fn ignore(&self, keys: &[&'static str]) {
        self.read.borrow_mut().extend(keys);
    }

    /// Keys that Vault knows and that should mean something, but do not yet.
    pub fn not_yet(&self, keys: &[&'static str], warnings: &mut Vec<String>) {
        self.read.borrow_mut().extend(keys);
        for key in keys.iter().filter(|key| self.body.keys().any(|(found, _)| found == **key)) {
            warnings.push(format!("{}: {key} is not supported and has no effect", self.place()));
        }
    }

    /// A warning for each key that nobody read.
    pub fn finish(&self, warnings: &mut Vec<String>) {
        let read = self.read.borrow();
        for (key, position) in self.body.keys().filter(|(key, _)| !read.contains(key)) {
            let line = if position.line > 0 { format!(" in line {}", position.line) } else { String::new() };
            warnings.push(format!("{}: unknown key {key:?}{line} is ignored", self.place()));
        }
    }

    /// The error about a key of this block.
    pub fn wrong(&self, key: &str, message: impl Display) -> StanzaError {
        StanzaError::Key {
            file: self.file.to_owned(),
            place: [self.name.as_str(), key].join(" ").trim().to_owned(),
            message: message.to_string(),
        }
    }

    /// The block's content.
    pub fn body(&self) -> &'a Body {
        self.body
    }

    fn place(&self) -> String {
        if self.name.is_empty() {
            return self.file.display().to_string();
        }
        format!("{}: {}", self.file.display(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_a_label_or_a_key() {
        for text in [
            "sink \"a\" { k = 1 }\nsink { type = \"b\" k = 2 }",
            "sink { type = \"a\" k = 1 }\nsink { b { k = 2 } }",
            "sink = [{ type = \"a\" k = 1 }, { b = { k = 2 } }]",
            r#"{ "sink": [{ "a": { "k": 1 } }, { "type": "b", "k": 2 }] }"#,
            r#"{ "sink": { "a": [{ "k": 1 }], "b": { "k": 2 } } }"#,
        ] {
            let body = crate::parse(text).unwrap();
            let top = Stanza::new(Path::new("f"), "", &body);
            let found: Vec<_> =
                top.typed("sink").unwrap().into_iter().map(|(kind, sink)| (kind, sink.number("k").unwrap())).collect();
            assert_eq!(found, [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))], "{text}");
        }
        for text in ["sink \"a\" \"b\" {}", "sink = 5", "sink { type2 = 1 }"] {
            let body = crate::parse(text).unwrap();
            assert!(Stanza::new(Path::new("f"), "", &body).typed("sink").is_err(), "{text}");
        }
    }
}
