//! Items into texts: parses the templates once and renders them over what has been read.

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet};

use holdfast_base::{Clock, Timestamp};
use holdfast_secret::SecretString;
use holdfast_template::{Call, Error as TemplateError, Kind, Lookup, Options, Source, Template};
use serde_json::Value;

use crate::{
    config::Item,
    dependency::Dependency,
    failure::{Class, Failure},
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
    /// What the last pass asked for.
    pub calls: BTreeSet<Call>,
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
    asked: RefCell<BTreeSet<Call>>,
}

impl Prepared {
    /// Parses the template.
    pub fn new(item: Item) -> Result<Self, Failure> {
        let usual = Options::default();
        let (left, right) = item.delimiters.clone().unwrap_or((usual.left, usual.right));
        let options = Options { left, right, error_on_missing_key: item.error_on_missing_key };
        let template = Template::parse_with(&item.template, options)
            .map_err(|error| Failure::new(Class::Template, format!("{}: {error}", item.name)))?;
        let mode = item.permissions().map_err(|reason| Failure::new(Class::Config, reason))?;
        Ok(Self { item, mode, template, calls: BTreeSet::new() })
    }

    /// The text over what has been read.
    pub fn render(&mut self, dependencies: &Dependencies, clock: &dyn Clock) -> Result<SecretString, NoText> {
        let source = Known { dependencies, clock, asked: RefCell::default() };
        let root = match &self.item.path {
            None => Ok(Value::Null),
            Some(path) => {
                let call = Call { path: path.trim_matches('/').to_owned(), ..Call::default() };
                match source.secret(&call.path, &[]) {
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
        text
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
    fn look(&self, kind: Kind, path: &str, args: &[(String, String)]) -> Lookup {
        let call = Call { kind, path: path.to_owned(), args: args.to_vec() };
        let found = self.dependencies.get(&call).and_then(Dependency::envelope).cloned();
        self.asked.borrow_mut().insert(call);
        found.map_or(Lookup::Missing, Lookup::Ready)
    }
}

impl Source for Known<'_> {
    fn secret(&self, path: &str, args: &[(String, String)]) -> Lookup {
        self.look(Kind::Secret, path, args)
    }

    fn list(&self, path: &str) -> Option<Lookup> {
        Some(self.look(Kind::List, path, &[]))
    }

    fn certificate(&self, path: &str, args: &[(String, String)]) -> Option<Lookup> {
        Some(self.look(Kind::Certificate, path, args))
    }

    fn now(&self) -> Option<Timestamp> {
        Some(self.clock.now())
    }
}
