//! A parser for the HCL 1 subset and the JSON that Vault accepts, for policies and for the server's configuration.
//!
//! [`parse`] makes a [`Body`]: attributes and blocks in the order of the text, with their positions, nothing dropped
//! (a repeated key stays visible, since a lost `deny` would be a hole). Text whose first non-blank character is `{` is
//! JSON; everything else is HCL. Where HCL and JSON may write the same thing in several ways (`path "x" {…}`,
//! `path = { x = {…} }`, `{"path": {"x": {…}}}`), [`Body::blocks`] reads them all.

mod json;
mod lexer;
mod parser;
mod stanza;
mod tree;

pub use stanza::{Stanza, StanzaError};
pub use tree::{Attribute, Block, Body, Found, Item, Position, ShapeError, Value};

/// Deepest nesting of blocks, lists and objects.
pub const MAX_DEPTH: usize = 64;

/// Why a text could not be read: where, what would have been right, what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: expected {expected}, found {found}", .position.line, .position.column)]
pub struct ParseError {
    /// Where in the text.
    pub position: Position,
    /// What would have been right.
    pub expected: String,
    /// What is there. A token of the text, never more than 40 characters of it.
    pub found: String,
}

/// Reads HCL, or JSON if the first non-blank character is `{`. Empty text is an empty body.
pub fn parse(text: &str) -> Result<Body, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') { json::parse(text) } else { parser::parse(text) }
}
