//! Go templates (`text/template`) with the functions of consul-template that injected pods use.
//!
//! An engine of our own: `secret` needs the caller's state, delimiters can be changed, and what was rendered is zeroed
//! when dropped. A template is rendered in passes: while the [`Source`] lacks something, [`Template::render`] answers
//! [`Error::Missing`] with everything that pass asked for; the caller fetches it and renders again.
//!
//! ```
//! use holdfast_template::{NoSource, Template};
//! # fn main() -> Result<(), holdfast_template::Error> {
//! let template = Template::parse("postgresql://{{ .username }}:{{ .password }}@pg/orders")?;
//! let root = serde_json::json!({ "username": "ada", "password": "p" });
//! assert_eq!(template.render(&root, &NoSource)?.expose(), "postgresql://ada:p@pg/orders");
//! # Ok(())
//! # }
//! ```
//!
//! Differences from Go, all on purpose: numbers of JSON are whole numbers or decimals that print as they were written (Go
//! prints 1e+06 for a decoded 1000000), a misspelt field of a secret (`.data` for `.Data`) is an error rather than `<no
//! value>`, and output, loops and nesting are bounded.

mod ast;
mod exec;
pub mod fields;
mod format;
mod functions;
mod lex;
mod moment;
mod parse;
pub mod reference;
mod toml;
mod value;
mod yaml;

use std::{collections::BTreeMap, fmt};

use holdfast_base::Timestamp;
use holdfast_secret::SecretString;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    main: Vec<ast::Node>,
    defined: BTreeMap<String, Vec<ast::Node>>,
    options: Options,
}

/// How a template is read and what a missing key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Opens an action; default `{{`.
    pub left: String,
    /// Closes an action; default `}}`.
    pub right: String,
    /// Fail on a key that is not there, rather than print `<no value>`.
    pub error_on_missing_key: bool,
    /// Functions that the template must not use.
    pub denied: Vec<String>,
}

/// What templates read from outside.
pub trait Source {
    /// The answer of the server. `None` says that there is no such call here.
    fn answer(&self, call: &Call) -> Option<Lookup>;

    /// The content of a file for `file`, or why it cannot be read; `None` says that templates must not read files.
    fn file(&self, _path: &str) -> Option<Result<String, String>> {
        None
    }

    /// Takes a file that `writeToFile` writes; `None` says that templates must not write files.
    fn write(&self, _file: Written) -> Option<Result<(), String>> {
        None
    }

    /// An environment variable for `env`; the outer `None` says that templates must not read the environment.
    fn env(&self, _name: &str) -> Option<Option<String>> {
        None
    }

    /// The time for `timestamp`; `None` says that there is none.
    fn now(&self) -> Option<Timestamp> {
        None
    }
}

/// What a [`Source`] has.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The envelope of the server: `lease_id`, `lease_duration`, `renewable`, `request_id`, `warnings`, `data`.
    Ready(serde_json::Value),
    /// Not here yet: fetch it and render again.
    Missing,
}

/// What a template asks of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `{{ secret "path" "key=value" }}`: a read, or with arguments a write.
    #[default]
    Secret,
    /// `{{ secrets "path" }}`: a list, `data` with `keys`.
    List,
    /// `{{ pkiCert "path" "key=value" }}`: a write whose answer is kept: the same certificate as long as it is good.
    Certificate,
}

/// A file of `writeToFile`.
#[derive(Debug)]
pub struct Written {
    /// Where to.
    pub path: String,
    /// Name or number; empty: as the process.
    pub user: String,
    /// Name or number; empty: as the process.
    pub group: String,
    /// Permission bits.
    pub mode: u32,
    /// Add to what is there, rather than replace it.
    pub append: bool,
    /// What.
    pub text: SecretString,
}

/// One `secret`, `secrets` or `pkiCert` of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// What is to be done there.
    pub kind: Kind,
    /// API path below `/v1/`.
    pub path: String,
    /// `key=value` arguments in the order given; with any, the call is a write.
    pub args: Vec<(String, String)>,
}

/// A source that has nothing: for templates over their root value only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSource;

/// Why there is no text. Never carries a rendered value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The template cannot be read.
    #[error("template line {line}: {reason}")]
    Parse {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The template cannot be rendered with these values.
    #[error("template line {line}: {reason}")]
    Render {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The source lacks these.
    #[error("waiting for {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Missing(Vec<Call>),
}

impl Default for Options {
    fn default() -> Self {
        Self { left: "{{".to_owned(), right: "}}".to_owned(), error_on_missing_key: false, denied: Vec::new() }
    }
}

impl Source for NoSource {
    fn answer(&self, call: &Call) -> Option<Lookup> {
        (call.kind == Kind::Secret).then_some(Lookup::Missing)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

// === impl Template ===

impl Template {
    /// Reads a template with the usual delimiters; a missing key prints `<no value>`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, Options::default())
    }

    /// Reads a template. Empty delimiters stand for the usual ones.
    pub fn parse_with(text: &str, mut options: Options) -> Result<Self, Error> {
        let usual = Options::default();
        if options.left.is_empty() {
            options.left = usual.left;
        }
        if options.right.is_empty() {
            options.right = usual.right;
        }
        let (main, defined) = parse::parse(text, &options)?;
        Ok(Self { main, defined, options })
    }

    /// Renders with `root` as `.` and `$`. Does no input or output of its own: `secret` asks the `source`.
    pub fn render(&self, root: &serde_json::Value, source: &dyn Source) -> Result<SecretString, Error> {
        exec::render(self, root, source)
    }
}
