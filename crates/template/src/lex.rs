//! Text and actions into tokens. Trim markers and comments end here.

use crate::{Error, Options};

/// A token with the line it starts on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

/// See the Go documentation of `text/template`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    Open,
    Close,
    Space,
    Dot,
    /// `.name`
    Field(String),
    /// `$name` or `$`
    Variable(String),
    /// Function, keyword, `true`, `false`, `nil`.
    Word(String),
    Literal(String),
    Int(i64),
    Float(f64),
    Declare,
    Assign,
    Pipe,
    Comma,
    LeftParen,
    RightParen,
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    options: &'a Options,
    tokens: Vec<Token>,
    trim_next: bool,
}

pub(crate) fn lex(text: &str, options: &Options) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { rest: text, line: 1, options, tokens: Vec::new(), trim_next: false };
    while lexer.text() {
        lexer.action()?;
    }
    Ok(lexer.tokens)
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Lexer<'a> {
    /// Takes text up to the next action; false at the end.
    fn text(&mut self) -> bool {
        let (text, more) = match self.rest.find(&self.options.left) {
            Some(at) => (&self.rest[..at], true),
            None => (self.rest, false),
        };
        let mut shown = text;
        if std::mem::take(&mut self.trim_next) {
            shown = shown.trim_start_matches(SPACES);
        }
        let opened = &self.rest[text.len() + if more { self.options.left.len() } else { 0 }..];
        if more && opened.starts_with('-') && opened[1..].starts_with(SPACES) {
            shown = shown.trim_end_matches(SPACES);
        }
        if !shown.is_empty() {
            let line = self.line;
            self.tokens.push(Token { line, kind: Kind::Text(shown.to_owned()) });
        }
        self.skip(text.len());
        more
    }

    fn action(&mut self) -> Result<(), Error> {
        let open_line = self.line;
        self.skip(self.options.left.len());
        if self.rest.starts_with('-') && self.rest[1..].starts_with(SPACES) {
            self.skip(1);
        }
        // Go wants a comment right after the delimiter (or its marker and space); more space does no harm.
        if self.rest.trim_start_matches(SPACES).starts_with("/*") {
            return self.comment(open_line);
        }
        self.push(Kind::Open);
        loop {
            if let Some(length) = self.closing() {
                self.push(Kind::Close);
                self.skip(length);
                return Ok(());
            }
            let Some(next) = self.rest.chars().next() else {
                return Err(Error::Parse { line: open_line, reason: "unclosed action".to_owned() });
            };
            self.token(next)?;
        }
    }

    fn comment(&mut self, open_line: usize) -> Result<(), Error> {
        let Some(end) = self.rest.find("*/") else {
            return Err(Error::Parse { line: open_line, reason: "unclosed comment".to_owned() });
        };
        self.skip(end + 2);
        match self.closing() {
            Some(length) => {
                self.skip(length);
                Ok(())
            }
            None => Err(self.fail("comment ends before closing delimiter")),
        }
    }

    /// Length of the closing delimiter that starts here, if one does; notes its trim marker.
    fn closing(&mut self) -> Option<usize> {
        let right = self.options.right.as_str();
        let trimmed = self.rest.trim_start_matches(SPACES);
        if trimmed.len() < self.rest.len()
            && let Some(marked) = trimmed.strip_prefix('-')
            && marked.starts_with(right)
        {
            self.trim_next = true;
            return Some(self.rest.len() - marked.len() + right.len());
        }
        self.rest.starts_with(right).then_some(right.len())
    }

    fn token(&mut self, next: char) -> Result<(), Error> {
        match next {
            ' ' | '\t' | '\r' | '\n' => {
                let length = self.rest.len() - self.rest.trim_start_matches(SPACES).len();
                self.symbol(Kind::Space, length)
            }
            '"' => self.quoted(),
            '`' => match self.rest[1..].find('`') {
                Some(end) => {
                    self.push(Kind::Literal(self.rest[1..=end].to_owned()));
                    self.skip(end + 2);
                    Ok(())
                }
                None => Err(self.fail("unterminated raw quoted string")),
            },
            '\'' => self.character(),
            '|' => self.symbol(Kind::Pipe, 1),
            ',' => self.symbol(Kind::Comma, 1),
            '(' => self.symbol(Kind::LeftParen, 1),
            ')' => self.symbol(Kind::RightParen, 1),
            ':' if self.rest.starts_with(":=") => self.symbol(Kind::Declare, 2),
            ':' => Err(self.fail("expected :=")),
            '=' => self.symbol(Kind::Assign, 1),
            '$' => {
                let length = 1 + word_length(&self.rest[1..]);
                self.symbol(Kind::Variable(self.rest[..length].to_owned()), length)
            }
            '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => match word_length(&self.rest[1..]) {
                0 => self.symbol(Kind::Dot, 1),
                length => self.symbol(Kind::Field(self.rest[1..=length].to_owned()), length + 1),
            },
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if c.is_alphabetic() || c == '_' => {
                let length = word_length(self.rest);
                self.symbol(Kind::Word(self.rest[..length].to_owned()), length)
            }
            c => Err(self.fail(&format!("unexpected {c:?} in action"))),
        }
    }

    fn symbol(&mut self, kind: Kind, length: usize) -> Result<(), Error> {
        self.push(kind);
        self.skip(length);
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Error> {
        let mut end = 1;
        let bytes = self.rest.as_bytes();
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                None | Some(b'\n') => return Err(self.fail("unterminated quoted string")),
                Some(_) => end += 1,
            }
        }
        let text = unescape(&self.rest[1..end]).ok_or_else(|| self.fail("invalid escape in quoted string"))?;
        self.symbol(Kind::Literal(text), end + 1)
    }

    fn character(&mut self) -> Result<(), Error> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'\'' && *byte != b'\n') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if bytes.get(end) != Some(&b'\'') {
            return Err(self.fail("unterminated character constant"));
        }
        let text = unescape(&self.rest[1..end].replace("\\'", "'"));
        let mut chars = text.as_deref().unwrap_or_default().chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => self.symbol(Kind::Int(i64::from(u32::from(c))), end + 1),
            _ => Err(self.fail("malformed character constant")),
        }
    }

    fn number(&mut self) -> Result<(), Error> {
        let signed = usize::from(self.rest.starts_with(['+', '-']));
        let mut length = signed;
        let bytes = self.rest.as_bytes();
        while let Some(byte) = bytes.get(length) {
            let exponent_sign = matches!(byte, b'+' | b'-') && matches!(bytes[length - 1], b'e' | b'E');
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || (exponent_sign && length > signed) {
                length += 1;
            } else {
                break;
            }
        }
        let text = &self.rest[..length];
        let kind = number(text).ok_or_else(|| self.fail(&format!("bad number syntax: {text:?}")))?;
        self.symbol(kind, length)
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn skip(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }

    fn fail(&self, reason: &str) -> Error {
        Error::Parse { line: self.line, reason: reason.to_owned() }
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn number(text: &str) -> Option<Kind> {
    let clean = text.replace('_', "");
    let (negative, digits) = match clean.as_bytes().first()? {
        b'-' => (true, &clean[1..]),
        b'+' => (false, &clean[1..]),
        _ => (false, clean.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let whole = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|byte| byte.is_ascii_digit()) {
        i64::from_str_radix(&lower, 8).ok()
    } else {
        lower.parse().ok()
    };
    if let Some(whole) = whole {
        return Some(Kind::Int(if negative { -whole } else { whole }));
    }
    let fits = lower.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    let value: f64 = lower.parse().ok().filter(|_| fits && lower.contains(['.', 'e']))?;
    Some(Kind::Float(if negative { -value } else { value }))
}

/// Go's escapes of interpreted strings; `None` when malformed.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let code = |chars: &mut std::str::Chars<'_>, count: usize| {
            let digits: String = chars.by_ref().take(count).collect();
            if digits.len() == count { u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) } else { None }
        };
        out.push(match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' => '\\',
            '"' => '"',
            '\'' => '\'',
            'x' => code(&mut chars, 2)?,
            'u' => code(&mut chars, 4)?,
            'U' => code(&mut chars, 8)?,
            first @ '0'..='7' => {
                let digits: String = std::iter::once(first).chain(chars.by_ref().take(2)).collect();
                char::from_u32(u32::from_str_radix(&digits, 8).ok()?)?
            }
            _ => return None,
        });
    }
    Some(out)
}
