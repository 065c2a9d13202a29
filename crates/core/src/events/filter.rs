//! Filter expressions of a subscription: the part of go-bexpr that Vault's documentation shows.
//!
//! `selector == value`, `!=`, `selector contains text`, `text in selector`, `selector matches expression`,
//! `selector is empty`, each of them also with `not`; `and`, `or`, parentheses. Selectors are `event_type`, `operation`,
//! `namespace`, `source_plugin_mount` and `data_path`. Regular expressions run in time linear in the text.

use regex_lite::{Regex, RegexBuilder};

use crate::{Error, events::Told};

/// Nested parentheses and `not`s.
const DEPTH: usize = 32;
/// Bytes of an expression.
const LENGTH: usize = 4096;
/// Bytes that one regular expression may take when it is compiled.
const COMPILED: usize = 256 << 10;

/// An expression that was understood completely.
#[derive(Debug)]
pub struct Filter(Node);

#[derive(Debug)]
enum Node {
    Equal(Selector, String),
    Contains(Selector, String),
    Matches(Selector, Box<Regex>),
    Empty(Selector),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug)]
enum Selector {
    EventType,
    Operation,
    Namespace,
    Mount,
    DataPath,
}

impl Filter {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::invalid(format!("field \"filter\": {reason}"));
        if text.len() > LENGTH {
            return Err(wrong(format!("longer than {LENGTH} bytes")));
        }
        let words = words(text).map_err(wrong)?;
        let mut parser = Parser { words: &words, depth: 0 };
        let node = parser.or().map_err(wrong)?;
        match parser.words.first() {
            None => Ok(Self(node)),
            Some(word) => Err(wrong(format!("{:?} is not expected here", word.text))),
        }
    }

    /// Does it let the event through?
    pub fn matches(&self, told: &Told) -> bool {
        self.0.matches(told)
    }
}

impl Node {
    fn matches(&self, told: &Told) -> bool {
        match self {
            Self::Equal(selector, text) => selector.of(told) == text,
            Self::Contains(selector, text) => selector.of(told).contains(text.as_str()),
            Self::Matches(selector, expression) => expression.is_match(selector.of(told)),
            Self::Empty(selector) => selector.of(told).is_empty(),
            Self::Not(node) => !node.matches(told),
            Self::And(a, b) => a.matches(told) && b.matches(told),
            Self::Or(a, b) => a.matches(told) || b.matches(told),
        }
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { Self::Not(Box::new(self)) } else { self }
    }
}

impl Selector {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "event_type" => Self::EventType,
            "operation" => Self::Operation,
            "namespace" => Self::Namespace,
            "source_plugin_mount" => Self::Mount,
            "data_path" => Self::DataPath,
            _ => {
                let known = "event_type, operation, namespace, source_plugin_mount, data_path";
                return Err(format!("unknown selector {name:?}, use one of {known}"));
            }
        })
    }

    fn of(self, told: &Told) -> &str {
        match self {
            Self::EventType => &told.event.kind,
            Self::Operation => told.event.metadata.get("operation").map(String::as_str).unwrap_or_default(),
            Self::Namespace => told.namespace.trim_end_matches('/'),
            Self::Mount => &told.mount,
            Self::DataPath => told.data_path(),
        }
    }
}

struct Word {
    text: String,
    quoted: bool,
}

struct Parser<'w> {
    words: &'w [Word],
    depth: usize,
}

impl Parser<'_> {
    /// Takes the next word if it is this one.
    fn takes(&mut self, wanted: &str) -> bool {
        let found = self.words.first().is_some_and(|word| !word.quoted && word.text == wanted);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn word(&mut self) -> Result<&Word, String> {
        let (first, rest) = self.words.split_first().ok_or("ends too early")?;
        self.words = rest;
        Ok(first)
    }

    fn or(&mut self) -> Result<Node, String> {
        let mut node = self.and()?;
        while self.takes("or") {
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Result<Node, String> {
        let mut node = self.unary()?;
        while self.takes("and") {
            node = Node::And(Box::new(node), Box::new(self.unary()?));
        }
        Ok(node)
    }

    fn unary(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("nested more than {DEPTH} deep"));
        }
        let node = if self.takes("not") {
            Node::Not(Box::new(self.unary()?))
        } else if self.takes("(") {
            let inner = self.or()?;
            if !self.takes(")") {
                return Err("a parenthesis is not closed".to_owned());
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, String> {
        let first = self.word()?.text.clone();
        if self.takes("in") {
            return Ok(Node::Contains(Selector::named(&self.word()?.text)?, first));
        }
        let negated = self.takes("not");
        if negated && self.takes("in") {
            let selector = Selector::named(&self.word()?.text)?;
            return Ok(Node::Not(Box::new(Node::Contains(selector, first))));
        }
        let selector = Selector::named(&first)?;
        if self.takes("is") {
            let negated = self.takes("not");
            return match self.takes("empty") {
                true => Ok(Node::Empty(selector).negated_if(negated)),
                false => Err("\"is\" must be followed by \"empty\" or \"not empty\"".to_owned()),
            };
        }
        let operator = self.word()?.text.clone();
        let text = self.word()?.text.clone();
        let node = match operator.as_str() {
            "==" => Node::Equal(selector, text),
            "!=" => Node::Not(Box::new(Node::Equal(selector, text))),
            "contains" => Node::Contains(selector, text),
            "matches" => Node::Matches(selector, Box::new(expression(&text)?)),
            _ => return Err(format!("unknown operator {operator:?}, use ==, !=, contains, in, matches or is empty")),
        };
        Ok(node.negated_if(negated))
    }
}

fn expression(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(COMPILED).build();
    built.map_err(|error| format!("regular expression {text:?}: {error}"))
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (text, quoted, after) = match first {
            '"' | '`' => {
                let (inner, after) = rest[1..].split_once(first).ok_or("a quote is not closed")?;
                (inner, true, after)
            }
            '(' | ')' => (&rest[..1], false, &rest[1..]),
            '=' | '!' if rest[1..].starts_with('=') => (&rest[..2], false, &rest[2..]),
            _ => {
                let end = |c: char| c.is_whitespace() || "()=!\"`".contains(c);
                let length = rest.find(end).unwrap_or(rest.len());
                if length == 0 {
                    return Err(format!("{first:?} is not expected here"));
                }
                (&rest[..length], false, &rest[length..])
            }
        };
        words.push(Word { text: text.to_owned(), quoted });
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use holdfast_base::Timestamp;
    use holdfast_logical::Event;

    use super::*;

    fn told() -> Told {
        Told {
            id: "1".to_owned(),
            time: Timestamp::default(),
            namespace: "a/".to_owned(),
            class: "secret".to_owned(),
            accessor: "kv_1".to_owned(),
            mount: "secret/".to_owned(),
            plugin: "kv".to_owned(),
            event: Event::new("kv-v2", "data-write", "secret/data/app").data_path("secret/data/app"),
        }
    }

    #[test]
    fn expressions_let_through_what_they_say() {
        for (text, expected) in [
            ("event_type == \"kv-v2/data-write\"", true),
            ("event_type == kv-v2/data-write and namespace == a", true),
            ("event_type != kv-v2/data-write", false),
            ("operation == delete or source_plugin_mount == \"secret/\"", true),
            ("not (operation == data-write)", false),
            ("data_path contains `data/app`", true),
            ("\"other\" in data_path", false),
            ("other not in data_path", true),
            ("data_path matches `^secret/data/[a-z]+$`", true),
            ("data_path not matches \"app\"", false),
            ("data_path is empty", false),
            ("data_path is not empty and not namespace is empty", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().matches(&told()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let deep = "not ".repeat(100) + "operation == x";
        for text in [
            "",
            "x == y",
            "operation",
            "operation ==",
            "operation ~ x",
            "(operation == x",
            "operation == x y",
            "\"",
            "operation matches `(`",
            "operation matches `(a{1000}){1000}`",
            "operation is x",
            &deep,
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    /// RUSTSEC-2024-0437, RUSTSEC-2026-0009: nesting ends before the stack does, whatever it is made of.
    #[test]
    fn rustsec_2024_0437_nesting_has_an_end() {
        for opening in ["(", "( ", "not ", "not(", "not not ("] {
            for times in [DEPTH + 1, LENGTH / opening.len(), 1 << 20] {
                assert!(Filter::parse(&opening.repeat(times)).is_err(), "{opening} {times}");
                let closed = format!("{}operation == x{}", opening.repeat(times), ")".repeat(times));
                assert!(Filter::parse(&closed).is_err(), "{opening} {times}");
            }
        }
        let within = format!("{}operation == x{}", "(".repeat(DEPTH - 1), ")".repeat(DEPTH - 1));
        assert!(Filter::parse(&within).is_ok());
        // Side by side is not nested; the length is the limit.
        let wide = vec!["operation is empty"; LENGTH / 24].join(" or ");
        assert!(!Filter::parse(&wide).unwrap().matches(&told()));
    }
}
