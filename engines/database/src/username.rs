//! Names of users, from a template in the part of Go's template language that Vault's username templates use.
//!
//! `{{.DisplayName}}`, `{{.RoleName}}`, pipes, parentheses, and the functions `random`, `truncate`, `printf`,
//! `unix_time`, `unix_time_millis`, `uuid`, `lowercase`, `uppercase`, `replace`.

use holdfast_base::id;
use holdfast_logical::{Clock, Entropy, Error};

/// The name of users where the connection has no template; PostgreSQL takes 63 bytes.
const DEFAULT: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}"#;

/// What names are made of.
pub(crate) struct Source<'a> {
    pub display_name: &'a str,
    pub role_name: &'a str,
    pub clock: &'a dyn Clock,
    pub entropy: &'a dyn Entropy,
}

/// Makes a name by the template (the default if empty) and checks that it fits into SQL and into PostgreSQL's limit.
pub(crate) fn make(template: &str, source: &Source<'_>) -> Result<String, Error> {
    let template = if template.is_empty() { DEFAULT } else { template };
    let name = render(template, source).map_err(|error| Error::Invalid(format!("username_template: {error}")))?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.@+:".contains(c);
    if name.is_empty() || name.len() > 63 {
        return Err(Error::Invalid(format!("username_template: makes {} bytes, it must be 1 to 63", name.len())));
    }
    if !name.chars().all(fine) {
        return Err(Error::invalid("username_template: names may have letters, digits and - _ . @ + : only"));
    }
    Ok(name)
}

/// Names that are made to see whether any two are the same.
const TRIED: u64 = 1000;

/// Refuses a template that does not work, or that would make the same name twice.
pub(crate) fn check(template: &str) -> Result<(), Error> {
    let clock = holdfast_base::ManualClock::new(holdfast_base::Timestamp::UNIX_EPOCH);
    let render = |seed| {
        let entropy = holdfast_base::SeededEntropy::new(seed);
        make(template, &Source { display_name: "token", role_name: "role", clock: &clock, entropy: &entropy })
    };
    let names = (0..TRIED).map(render).collect::<Result<std::collections::HashSet<_>, _>>()?;
    if (names.len() as u64) < TRIED {
        return Err(Error::invalid(
            "username_template: it must use uuid, or random with 8 characters or more, so that no name is ever used twice",
        ));
    }
    Ok(())
}

fn render(template: &str, source: &Source<'_>) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some(open) = rest.find("{{") {
        let close = rest[open..].find("}}").ok_or("a {{ is not closed")? + open;
        text.push_str(&rest[..open]);
        let tokens = tokens(rest[open + 2..close].trim_matches('-'))?;
        let mut parser = Parser { tokens: &tokens, source };
        text.push_str(&parser.pipeline()?);
        if !parser.tokens.is_empty() {
            return Err("there is a ) too many".to_owned());
        }
        rest = &rest[close + 2..];
    }
    text.push_str(rest);
    Ok(text)
}

#[derive(Debug)]
enum Token {
    Open,
    Close,
    Pipe,
    Word(String),
    Text(String),
}

fn tokens(mut rest: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let length = match first {
            '(' | ')' | '|' => {
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Pipe,
                });
                1
            }
            '"' | '`' => {
                let end = rest[1..].find(first).ok_or("a quote is not closed")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()|".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = &rest[length..];
    }
}

struct Parser<'t, 's> {
    tokens: &'t [Token],
    source: &'s Source<'s>,
}

impl Parser<'_, '_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// `command | command …`: the result of each is the last argument of the next.
    fn pipeline(&mut self) -> Result<String, String> {
        let mut result = self.command(None)?;
        while matches!(self.tokens.first(), Some(Token::Pipe)) {
            self.next();
            result = self.command(Some(result))?;
        }
        Ok(result)
    }

    fn command(&mut self, piped: Option<String>) -> Result<String, String> {
        let mut arguments = Vec::new();
        let mut name = None;
        loop {
            match self.tokens.first() {
                None | Some(Token::Pipe | Token::Close) => break,
                Some(Token::Word(word)) if name.is_none() && arguments.is_empty() && !word.starts_with('.') => {
                    name = Some(word.clone());
                    self.next();
                }
                Some(_) => arguments.push(self.argument()?),
            }
        }
        arguments.extend(piped);
        match (name, arguments.as_slice()) {
            (Some(name), arguments) => self.call(&name, arguments),
            (None, [value]) => Ok(value.clone()),
            (None, _) => Err("an expression must be one value or one call".to_owned()),
        }
    }

    fn argument(&mut self) -> Result<String, String> {
        let source = self.source;
        match self.next() {
            Some(Token::Open) => {
                let value = self.pipeline()?;
                match self.next() {
                    Some(Token::Close) => Ok(value),
                    _ => Err("a ( is not closed".to_owned()),
                }
            }
            Some(Token::Text(text)) => Ok(text.clone()),
            Some(Token::Word(word)) => match word.as_str() {
                ".DisplayName" => Ok(clean(source.display_name)),
                ".RoleName" => Ok(clean(source.role_name)),
                ".Now" | "." => Err(format!("{word} is not available")),
                word if word.starts_with('.') => Err(format!("{word} is unknown: use .DisplayName or .RoleName")),
                word if word.bytes().all(|byte| byte.is_ascii_digit()) => Ok(word.to_owned()),
                word => {
                    let word = word.to_owned();
                    self.call(&word, &[])
                }
            },
            _ => Err("a value is missing".to_owned()),
        }
    }

    fn call(&self, name: &str, arguments: &[String]) -> Result<String, String> {
        let now = || self.source.clock.now();
        match (name, arguments) {
            ("random", [length]) => Ok(id::base62(self.source.entropy, number(length)?)),
            ("truncate", [length, text]) => Ok(text.chars().take(number(length)?).collect()),
            ("unix_time", []) => Ok(now().as_second().to_string()),
            ("unix_time_millis", []) => Ok(now().as_millisecond().to_string()),
            ("uuid", []) => Ok(id::uuid(self.source.entropy)),
            ("lowercase", [text]) => Ok(text.to_lowercase()),
            ("uppercase", [text]) => Ok(text.to_uppercase()),
            ("replace", [old, new, text]) => Ok(text.replace(old.as_str(), new)),
            ("printf", [format, values @ ..]) => printf(format, values),
            (name, arguments) => Err(format!("no function {name:?} with {} arguments", arguments.len())),
        }
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number <= 256).ok_or_else(|| format!("{text:?} is not a number up to 256"))
}

fn printf(format: &str, values: &[String]) -> Result<String, String> {
    let (mut text, mut values, mut chars) = (String::new(), values.iter(), format.chars());
    while let Some(c) = chars.next() {
        match (c, c == '%') {
            (_, true) => match chars.next() {
                Some('s' | 'd' | 'v') => text.push_str(values.next().ok_or("printf: a value is missing")?),
                Some('%') => text.push('%'),
                _ => return Err("printf: only %s, %d and %v are known".to_owned()),
            },
            (c, false) => text.push(c),
        }
    }
    Ok(text)
}

/// Names of people and roles may have anything in them; those of users may not.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use holdfast_base::{ManualClock, SeededEntropy, Timestamp};

    use super::*;

    fn named(template: &str, display_name: &str, role_name: &str) -> Result<String, Error> {
        let clock = ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap());
        make(template, &Source { display_name, role_name, clock: &clock, entropy: &SeededEntropy::new(1) })
    }

    #[test]
    fn the_default_has_the_parts_of_vault() {
        let name = named("", "kubernetes-shop-orders", "readonly-role").unwrap();
        let parts: Vec<&str> = name.split('-').collect();
        assert_eq!(parts[..3], ["v", "kubernet", "readonly"]);
        assert_eq!(parts[3].len(), 20);
        assert_eq!(parts[4], "1700000000");
    }

    #[test]
    fn nothing_breaks_out_of_the_quotes() {
        let name = named("", "a\"b'c", "r;x").unwrap();
        assert!(name.starts_with("v-a-b-c-r-x-"), "{name}");
    }

    #[test]
    fn templates_are_read_as_go_does() {
        assert_eq!(
            named(r#"x-{{.RoleName | truncate 3 | uppercase}}-{{ random 4 | truncate 0 }}e"#, "d", "role").unwrap(),
            "x-ROL-e"
        );
        assert_eq!(named(r#"{{ replace "o" "0" (printf "%s_%d" .DisplayName 7) }}"#, "foo", "r").unwrap(), "f00_7");
    }

    #[test]
    fn templates_that_do_not_work_are_refused() {
        for template in [
            "{{.RoleName",
            "{{.Foo}}",
            "{{ nope 1 }}",
            "{{ (random 4 }}",
            "fixed",
            "{{.RoleName}}-{{unix_time}}",
            "postgre{{random 1}}",
            "{{.RoleName}}-{{random 2}}",
            "'{{random 9}}",
        ] {
            assert!(check(template).is_err(), "{template}");
        }
        check("app-{{random 12}}").unwrap();
    }
}
