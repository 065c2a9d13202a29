//! Items into texts: parses the templates once and renders them over what has been read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use holdfast_base::{Clock, Timestamp};
use holdfast_secret::SecretString;
use holdfast_template::{Call, Error as TemplateError, Lookup, Options, Source, Template, Written};
use serde_json::Value;

use crate::{
    config::{self, Item},
    dependency::Dependency,
    failure::{Class, Failure},
    files::{self, Change},
};

/// What has been read, by call.
pub type Dependencies = BTreeMap<Call, Dependency>;

/// An item with its parsed template.
pub struct Prepared {
    /// As configured.
    pub item: Item,
    /// Permission bits.
    pub mode: u32,
    template: Template,
    /// User and group of the file.
    pub owner: Option<files::Owner>,
    /// What the last pass asked for.
    pub calls: BTreeSet<Call>,
}

/// What a template makes.
#[derive(Debug)]
pub struct Rendered {
    /// The text itself.
    pub text: SecretString,
    /// Files that it writes besides (`writeToFile`).
    pub written: Vec<Change>,
}

/// Why there is no text.
#[derive(Debug)]
pub enum NoText {
    /// These must be read first.
    Missing(Vec<Call>),
    /// The template fails.
    Failed(Failure),
}

struct Known<'a> {
    dependencies: &'a Dependencies,
    clock: &'a dyn Clock,
    sandbox: Option<&'a Path>,
    asked: RefCell<BTreeSet<Call>>,
    written: RefCell<Vec<Change>>,
}

impl Prepared {
    /// Parses the template.
    pub fn new(item: Item) -> Result<Self, Failure> {
        let usual = Options::default();
        let (left, right) = item.delimiters.clone().unwrap_or((usual.left, usual.right));
        let options = Options {
            left,
            right,
            error_on_missing_key: item.error_on_missing_key,
            denied: item.denied_functions.clone(),
        };
        let failed = |path: &Path, error: std::io::Error| {
            Failure::new(Class::Template, format!("{}: template {}: {error}", item.name, path.display()))
        };
        let file = item.template_file.as_deref();
        let text = file.map(|path| std::fs::read_to_string(path).map_err(|error| failed(path, error))).transpose()?;
        let template = Template::parse_with(text.as_deref().unwrap_or(&item.template), options)
            .map_err(|error| Failure::new(Class::Template, format!("{}: {error}", item.name)))?;
        let mode = item.permissions().map_err(|reason| Failure::new(Class::Config, reason))?;
        let owner = files::owner(item.owner.as_ref())
            .map_err(|reason| Failure::new(Class::Config, format!("{}: {reason}", item.name)))?;
        Ok(Self { item, mode, template, owner, calls: BTreeSet::new() })
    }

    /// The text over what has been read.
    pub fn render(&mut self, dependencies: &Dependencies, clock: &dyn Clock) -> Result<Rendered, NoText> {
        let source = Known {
            dependencies,
            clock,
            sandbox: self.item.sandbox.as_deref(),
            asked: RefCell::default(),
            written: RefCell::default(),
        };
        let root = match &self.item.path {
            None => Ok(Value::Null),
            Some(path) => {
                let call = Call { path: path.trim_matches('/').to_owned(), ..Call::default() };
                match source.look(&call) {
                    Lookup::Ready(envelope) => Ok(fields(&envelope)),
                    Lookup::Missing => Err(NoText::Missing(vec![call])),
                }
            }
        };
        let text = root.and_then(|root| {
            self.template.render(&root, &source).map_err(|error| match error {
                TemplateError::Missing(calls) => NoText::Missing(calls),
                other => NoText::Failed(Failure::new(Class::Template, format!("{}: {other}", self.item.name))),
            })
        });
        self.calls = source.asked.into_inner();
        Ok(Rendered { text: text?, written: source.written.into_inner() })
    }

    /// The new content of the item's file.
    pub fn change(&self, text: SecretString) -> Change {
        Change {
            path: self.item.file.clone(),
            mode: self.mode,
            text,
            owner: self.owner,
            backup: self.item.backup,
            folder_must_exist: self.item.folder_must_exist,
        }
    }
}

/// The fields of an answer: `data`, or for kv version 2 the `data` inside it.
fn fields(envelope: &Value) -> Value {
    let data = &envelope["data"];
    match data.as_object() {
        Some(object) if object.len() == 2 && object.get("metadata").is_some_and(Value::is_object) => {
            object.get("data").unwrap_or(data).clone()
        }
        _ => data.clone(),
    }
}

impl Known<'_> {
    fn look(&self, call: &Call) -> Lookup {
        let found = self.dependencies.get(call).and_then(Dependency::envelope).cloned();
        self.asked.borrow_mut().insert(call.clone());
        found.map_or(Lookup::Missing, Lookup::Ready)
    }

    /// Is the file one that the template may touch?
    fn inside(&self, path: &str) -> Result<PathBuf, String> {
        let path = PathBuf::from(path);
        let Some(sandbox) = self.sandbox else { return Ok(path) };
        let up = path.components().any(|part| part == Component::ParentDir);
        if up || !path.starts_with(sandbox) {
            return Err(format!("{} is outside of sandbox_path {}", path.display(), sandbox.display()));
        }
        Ok(path)
    }
}

impl Source for Known<'_> {
    fn answer(&self, call: &Call) -> Option<Lookup> {
        Some(self.look(call))
    }

    fn env(&self, name: &str) -> Option<Option<String>> {
        Some(std::env::var(name).ok().filter(|_| name != config::ENV))
    }

    fn file(&self, path: &str) -> Option<Result<String, String>> {
        let read =
            |path: PathBuf| std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
        Some(self.inside(path).and_then(read))
    }

    /// Notes the file: it is written with that of the item. To append is to append to what this rendering wrote, since a
    /// template is rendered again and again.
    fn write(&self, file: Written) -> Option<Result<(), String>> {
        let noted = self.inside(&file.path).and_then(|path| {
            let owner = files::owner(Some(&(file.user, file.group)))?.filter(|owner| *owner != (None, None));
            let mut written = self.written.borrow_mut();
            let earlier = written.iter().position(|change| change.path == path).map(|at| written.remove(at));
            let before = earlier.filter(|_| file.append).map(|change| change.text);
            let before = before.as_ref().map_or("", SecretString::expose);
            let text = SecretString::new(format!("{before}{}", file.text.expose()));
            written.push(Change { path, mode: file.mode, text, owner, ..Change::default() });
            Ok(())
        });
        Some(noted)
    }

    fn now(&self) -> Option<Timestamp> {
        Some(self.clock.now())
    }
}
