//! Tokens into nodes, as `text/template/parse` does: unknown functions and variables are errors here already.

use std::collections::BTreeMap;

use crate::{
    Error, Options,
    ast::{Branch, Node, Operand, Pipe},
    functions,
    lex::{Kind, Token, lex},
};

/// Deepest nesting of actions and parentheses.
const MAX_DEPTH: usize = 100;

type Defined = BTreeMap<String, Vec<Node>>;

struct Parser<'o> {
    options: &'o Options,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    defined: Defined,
}

/// What ended a list of nodes.
enum End {
    Close,
    Else,
    Text,
}

/// The main nodes and those of `define` and `block`.
pub(crate) fn parse(text: &str, options: &Options) -> Result<(Vec<Node>, Defined), Error> {
    let mut parser = Parser {
        options,
        tokens: lex(text, options)?,
        at: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        defined: Defined::new(),
    };
    let (nodes, end) = parser.list()?;
    match end {
        End::Text => Ok((nodes, parser.defined)),
        End::Close => Err(parser.fail("unexpected {{end}}")),
        End::Else => Err(parser.fail("unexpected {{else}}")),
    }
}

impl Parser<'_> {
    fn list(&mut self) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    self.skip_space();
                    if self.take_word("end") {
                        self.close("end")?;
                        return Ok((nodes, End::Close));
                    }
                    if self.take_word("else") {
                        return Ok((nodes, End::Else));
                    }
                    self.deeper()?;
                    nodes.extend(self.action()?);
                    self.depth -= 1;
                }
            }
        }
        Ok((nodes, End::Text))
    }

    fn action(&mut self) -> Result<Option<Node>, Error> {
        let line = self.line();
        if let Some(Kind::Word(word)) = self.peek() {
            let word = word.clone();
            match word.as_str() {
                "if" | "with" | "range" => {
                    self.at += 1;
                    return self.control(&word).map(Some);
                }
                "break" | "continue" => {
                    self.at += 1;
                    self.close(&word)?;
                    if self.loops == 0 {
                        return Err(self.fail(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    return Ok(Some(if word == "break" { Node::Break } else { Node::Continue }));
                }
                "define" => {
                    self.at += 1;
                    let name = self.name("define")?;
                    self.close("define")?;
                    self.definition(name)?;
                    return Ok(None);
                }
                "template" | "block" => {
                    self.at += 1;
                    let name = self.name(&word)?;
                    self.skip_space();
                    let pipe = if self.peek() == Some(&Kind::Close) { None } else { Some(self.pipeline(false)?) };
                    self.close(&word)?;
                    if word == "block" {
                        if pipe.is_none() {
                            return Err(self.fail("missing value for block clause"));
                        }
                        self.definition(name.clone())?;
                    }
                    return Ok(Some(Node::Template { line, name, pipe }));
                }
                _ => {}
            }
        }
        let pipe = self.pipeline(false)?;
        self.close("command")?;
        Ok(Some(Node::Action(pipe)))
    }

    fn definition(&mut self, name: String) -> Result<(), Error> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list()?;
        if !matches!(end, End::Close) {
            return Err(self.fail(&format!("template {name:?} lacks its {{{{end}}}}")));
        }
        self.variables = outer;
        self.loops = loops;
        self.defined.insert(name, nodes);
        Ok(())
    }

    fn control(&mut self, word: &str) -> Result<Node, Error> {
        self.deeper()?;
        let start = self.line();
        let scope = self.variables.len();
        let range = word == "range";
        let pipe = self.pipeline(range)?;
        self.close(word)?;
        self.loops += usize::from(range);
        let (body, end) = self.list()?;
        self.loops -= usize::from(range);
        let otherwise = match end {
            End::Close => Vec::new(),
            End::Text => {
                return Err(Error::Parse { line: start, reason: format!("{{{{{word}}}}} lacks its {{{{end}}}}") });
            }
            End::Else => self.otherwise(word)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        let branch = Branch { pipe, body, otherwise };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    /// After `else`: the rest of its action and the list. `else if` and `else with` share the `end`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, Error> {
        self.skip_space();
        if word != "range" && self.take_word(word) {
            return Ok(vec![self.control(word)?]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, End::Close) => Ok(nodes),
            (_, End::Else) => Err(self.fail("expected {{end}}; found {{else}}")),
            (_, End::Text) => Err(self.fail("{{else}} lacks its {{end}}")),
        }
    }

    fn pipeline(&mut self, range: bool) -> Result<Pipe, Error> {
        self.deeper()?;
        self.skip_space();
        let line = self.line();
        let (variables, assign) = self.declaration(range)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command()?;
            match command.first() {
                None => return Err(self.fail("missing value for command")),
                Some(Operand::Function(_)) => {}
                Some(Operand::Dot | Operand::Field(_) | Operand::Variable(..)) if commands.is_empty() => {}
                // Of a later stage only a method: `"x" | scratch.Set "k"`.
                Some(Operand::Pipe(_, chain)) if commands.is_empty() || !chain.is_empty() => {}
                Some(_) if !commands.is_empty() => {
                    return Err(self.fail(&format!("non executable command in pipeline stage {}", commands.len() + 1)));
                }
                Some(Operand::Nil) => return Err(self.fail("nil is not a command")),
                Some(_) => {}
            }
            commands.push(command);
            if self.peek() != Some(&Kind::Pipe) {
                break;
            }
            self.at += 1;
        }
        if assign {
            for name in &variables {
                self.known(name)?;
            }
        } else {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { line, variables, assign, commands })
    }

    /// `$a :=`, `$a =`, `$a, $b :=`; nothing else is consumed.
    fn declaration(&mut self, range: bool) -> Result<(Vec<String>, bool), Error> {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek() {
            names.push(name.clone());
            self.at += 1;
            self.skip_space();
            match self.peek() {
                Some(Kind::Declare) => {
                    self.at += 1;
                    return Ok((names, false));
                }
                Some(Kind::Assign) => {
                    self.at += 1;
                    return Ok((names, true));
                }
                Some(Kind::Comma) if range && names.len() == 1 => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(Kind::Comma) => return Err(self.fail("too many declarations in command")),
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Vec<Operand>, Error> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            let Some(operand) = self.operand()? else { return Ok(operands) };
            operands.push(operand);
            match self.peek() {
                Some(Kind::Space | Kind::Pipe | Kind::RightParen | Kind::Close) | None => {}
                Some(_) => return Err(self.fail("unexpected token in operand; separate arguments with space")),
            }
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let Some(kind) = self.peek().cloned() else { return Err(self.fail("unclosed action")) };
        self.at += 1;
        Ok(Some(match kind {
            Kind::Dot => Operand::Dot,
            Kind::Literal(text) => Operand::Text(text),
            Kind::Int(value) => Operand::Int(value),
            Kind::Float(value) => Operand::Float(value),
            Kind::Field(name) => {
                let mut chain = vec![name];
                chain.extend(self.chain());
                Operand::Field(chain)
            }
            Kind::Variable(name) => {
                self.known(&name)?;
                Operand::Variable(name, self.chain())
            }
            Kind::Word(word) => match word.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                name if self.options.denied.iter().any(|denied| denied == name) => {
                    return Err(self.fail(&format!("function {name:?} is in the list of those that are denied")));
                }
                name if functions::exists(name) => {
                    let chain = self.chain();
                    if chain.is_empty() { Operand::Function(word) } else { self.chained(word, chain) }
                }
                name => return Err(self.fail(&functions::unknown(name))),
            },
            Kind::LeftParen => {
                let pipe = self.pipeline(false)?;
                self.skip_space();
                if self.peek() != Some(&Kind::RightParen) {
                    return Err(self.fail("unclosed left paren"));
                }
                self.at += 1;
                Operand::Pipe(Box::new(pipe), self.chain())
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        }))
    }

    /// `scratch.Get`: the function's value, and what is behind it.
    fn chained(&self, function: String, chain: Vec<String>) -> Operand {
        let commands = vec![vec![Operand::Function(function)]];
        Operand::Pipe(Box::new(Pipe { line: self.line(), variables: Vec::new(), assign: false, commands }), chain)
    }

    fn chain(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Kind::Field(name)) = self.peek() {
            names.push(name.clone());
            self.at += 1;
        }
        names
    }

    fn name(&mut self, context: &str) -> Result<String, Error> {
        self.skip_space();
        match self.next().map(|token| token.kind) {
            Some(Kind::Literal(name)) => Ok(name),
            _ => Err(self.fail(&format!("{context} wants a quoted name"))),
        }
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(self.fail(&format!("undefined variable {name:?}")))
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        self.skip_space();
        match self.next().map(|token| token.kind) {
            Some(Kind::Close) => Ok(()),
            _ => {
                self.at -= 1;
                Err(self.fail(&format!("unexpected token in {context}")))
            }
        }
    }

    fn deeper(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fail("nested too deeply"));
        }
        Ok(())
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Kind::Word(found)) if found == word);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn line(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(1, |token| token.line)
    }

    fn fail(&self, reason: &str) -> Error {
        Error::Parse { line: self.line(), reason: reason.to_owned() }
    }
}
