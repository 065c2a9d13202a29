//! Text into tokens.

use serde_json::Number;

use crate::{ParseError, Position};

/// A token. Words hold identifiers, `true` and `false` alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    String(String),
    Number(Number),
    /// `{ } [ ] = ,`
    Sign(char),
    End,
}

pub(crate) struct Lexer<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    at: Position,
}

impl Token {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("{:?}", shorten(word)),
            Self::String(text) => format!("the string {:?}", shorten(text)),
            Self::Number(number) => format!("the number {}", shorten(&number.to_string())),
            Self::Sign(sign) => format!("\"{sign}\""),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { rest: text.chars().peekable(), at: Position { line: 1, column: 1 } }
    }

    /// The next token and where it starts.
    pub(crate) fn next(&mut self) -> Result<(Token, Position), ParseError> {
        self.skip_blanks()?;
        let start = self.at;
        let token = match self.rest.peek().copied() {
            None => Token::End,
            Some(sign @ ('{' | '}' | '[' | ']' | '=' | ',')) => {
                self.bump();
                Token::Sign(sign)
            }
            Some('"') => self.string(start)?,
            Some('<') => self.heredoc(start)?,
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(start)?,
            Some(c) if c.is_alphabetic() || c == '_' => {
                Token::Word(self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            }
            Some(other) => return Err(fail(start, "a name, a value or a closing bracket", format!("{other:?}"))),
        };
        Ok((token, start))
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.rest.next_if(|c| accept(*c)) {
            self.at.column += 1;
            text.push(c);
        }
        text
    }

    fn skip_line(&mut self) {
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.bump();
        }
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            match self.rest.peek() {
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                Some('#') => self.skip_line(),
                Some('/') => {
                    let start = self.at;
                    self.bump();
                    match self.rest.peek() {
                        Some('/') => self.skip_line(),
                        Some('*') => self.skip_comment(start)?,
                        _ => return Err(fail(start, "a comment (// or /*)", "\"/\"")),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self, start: Position) -> Result<(), ParseError> {
        self.bump();
        let mut previous = ' ';
        while let Some(c) = self.bump() {
            if previous == '*' && c == '/' {
                return Ok(());
            }
            previous = c;
        }
        Err(fail(start, "a comment that is closed with */", "the end of the text"))
    }

    /// A quoted string. Inside `${…}` everything is kept as written, quotes included, as HCL 1 does.
    fn string(&mut self, start: Position) -> Result<Token, ParseError> {
        self.bump();
        let mut text = String::new();
        let mut braces = 0usize;
        loop {
            let at = self.at;
            let Some(c) = self.bump() else { return Err(fail(start, "a closing quote", "the end of the text")) };
            match c {
                '$' if self.rest.peek() == Some(&'{') => {
                    self.bump();
                    text.push_str("${");
                    braces += 1;
                }
                '{' if braces > 0 => {
                    braces += 1;
                    text.push(c);
                }
                '}' if braces > 0 => {
                    braces -= 1;
                    text.push(c);
                }
                _ if braces > 0 => text.push(c),
                '"' => return Ok(Token::String(text)),
                '\n' => return Err(fail(at, "a closing quote", "the end of the line")),
                '\\' => text.push(self.escape(at)?),
                _ => text.push(c),
            }
        }
    }

    fn escape(&mut self, at: Position) -> Result<char, ParseError> {
        let c = self.bump().ok_or_else(|| fail(at, "an escape", "the end of the text"))?;
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' => c,
            'x' => self.code(at, 2, 16, 0)?,
            'u' => self.code(at, 4, 16, 0)?,
            'U' => self.code(at, 8, 16, 0)?,
            '0'..='7' => self.code(at, 2, 8, c.to_digit(8).unwrap_or(0))?,
            other => {
                let expected = r#"one of the escapes \n \t \r \a \b \f \v \\ \" \xHH \ooo \uHHHH \UHHHHHHHH"#;
                return Err(fail(at, expected, format!("{other:?}")));
            }
        })
    }

    fn code(&mut self, at: Position, digits: usize, radix: u32, first: u32) -> Result<char, ParseError> {
        let mut number = first;
        for _ in 0..digits {
            let digit = self.rest.peek().and_then(|c| c.to_digit(radix));
            let digit = digit.ok_or_else(|| fail(at, format!("{digits} more digits in the escape"), "fewer"))?;
            self.bump();
            number = number.checked_mul(radix).and_then(|n| n.checked_add(digit)).unwrap_or(u32::MAX);
        }
        char::from_u32(number).ok_or_else(|| fail(at, "the code of a character", format!("{number:#x}")))
    }

    /// `<<X` or `<<-X`, up to the line that holds only X. The second form takes the closing mark's indentation off
    /// every line, if every line has it.
    fn heredoc(&mut self, start: Position) -> Result<Token, ParseError> {
        self.bump();
        if self.rest.peek() != Some(&'<') {
            return Err(fail(start, "<< of a heredoc", "\"<\""));
        }
        self.bump();
        let strip = self.rest.next_if_eq(&'-').is_some();
        let mark = self.take_while(|c| c.is_alphanumeric() || c == '_');
        self.take_while(|c| c == '\r');
        if mark.is_empty() || self.bump() != Some('\n') {
            return Err(fail(start, "a word and the end of the line after <<", "something else"));
        }
        let mut lines: Vec<String> = Vec::new();
        let indent = loop {
            let line = self.take_while(|c| c != '\n');
            if line.trim() == mark {
                break line.chars().take_while(|c| c.is_whitespace()).collect::<String>();
            }
            lines.push(line);
            if self.bump().is_none() {
                return Err(fail(start, format!("a line with only {mark}"), "the end of the text"));
            }
        };
        let strip = strip && lines.iter().all(|line| line.starts_with(&indent));
        let mut text = String::new();
        for line in &lines {
            text.push_str(if strip { line.strip_prefix(&indent).unwrap_or(line) } else { line });
            text.push('\n');
        }
        Ok(Token::String(text))
    }

    fn number(&mut self, start: Position) -> Result<Token, ParseError> {
        let sign = if self.rest.next_if_eq(&'-').is_some() { "-" } else { "" };
        self.at.column += sign.len();
        let mut word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        if word.ends_with(['e', 'E']) && !word.starts_with("0x") {
            let more = self.take_while(|c| c.is_ascii_digit() || matches!(c, '+' | '-'));
            word.push_str(&more);
        }
        let bad = || fail(start, "a number", format!("{:?}", shorten(&format!("{sign}{word}"))));
        let text = if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            format!("{sign}{}", u64::from_str_radix(hex, 16).map_err(|_| bad())?)
        } else if word.len() > 1 && word.starts_with('0') && word.bytes().all(|b| b.is_ascii_digit()) {
            format!("{sign}{}", u64::from_str_radix(&word, 8).map_err(|_| bad())?)
        } else {
            format!("{sign}{word}")
        };
        serde_json::from_str(&text).map(Token::Number).map_err(|_| bad())
    }
}

pub(crate) fn fail(position: Position, expected: impl Into<String>, found: impl Into<String>) -> ParseError {
    ParseError { position, expected: expected.into(), found: found.into() }
}
