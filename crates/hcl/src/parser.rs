//! Tokens into the tree.

use crate::{
    Attribute, Block, Body, Item, MAX_DEPTH, ParseError, Position, Value,
    lexer::{Lexer, Token, fail},
};

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    at: Position,
    depth: usize,
}

pub(crate) fn parse(text: &str) -> Result<Body, ParseError> {
    let mut parser = Parser { lexer: Lexer::new(text), token: Token::End, at: Position::default(), depth: 0 };
    parser.advance()?;
    let body = parser.items()?;
    match parser.token {
        Token::End => Ok(body),
        _ => Err(parser.expected("a name, or the end of the text")),
    }
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<Token, ParseError> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn expected(&self, what: &str) -> ParseError {
        fail(self.at, what, self.token.describe())
    }

    fn accept(&mut self, sign: char) -> Result<bool, ParseError> {
        let there = self.token == Token::Sign(sign);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fail(self.at, format!("at most {MAX_DEPTH} levels of nesting"), "more"));
        }
        Ok(())
    }

    /// Items up to a token that begins none.
    fn items(&mut self) -> Result<Body, ParseError> {
        let mut items = Vec::new();
        while matches!(self.token, Token::Word(_) | Token::String(_)) {
            items.push(self.item()?);
            self.accept(',')?;
        }
        Ok(Body { items })
    }

    fn item(&mut self) -> Result<Item, ParseError> {
        let position = self.at;
        let key = self.name()?;
        if self.accept('=')? {
            return Ok(Item::Attribute(Attribute { key, value: self.value()?, position }));
        }
        let mut labels = Vec::new();
        while matches!(self.token, Token::Word(_) | Token::String(_)) {
            labels.push(self.name()?);
        }
        if self.token != Token::Sign('{') {
            return Err(self.expected(if labels.is_empty() { "\"=\", a label or \"{\"" } else { "a label or \"{\"" }));
        }
        Ok(Item::Block(Block { kind: key, labels, body: self.braces()?, position }))
    }

    fn name(&mut self) -> Result<String, ParseError> {
        match self.advance()? {
            Token::Word(name) | Token::String(name) => Ok(name),
            _ => Err(self.expected("a name")),
        }
    }

    /// `{ items }`; the current token is the opening brace.
    fn braces(&mut self) -> Result<Body, ParseError> {
        self.enter()?;
        self.advance()?;
        let body = self.items()?;
        if !self.accept('}')? {
            return Err(self.expected("a name or \"}\""));
        }
        self.depth -= 1;
        Ok(body)
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        match &self.token {
            Token::Sign('{') => Ok(Value::Object(self.braces()?)),
            Token::Sign('[') => self.list(),
            Token::Word(word) if word == "true" || word == "false" => {
                let truth = word == "true";
                self.advance()?;
                Ok(Value::Bool(truth))
            }
            Token::String(_) | Token::Number(_) => match self.advance()? {
                Token::String(text) => Ok(Value::String(text)),
                Token::Number(number) => Ok(Value::Number(number)),
                _ => Err(self.expected("a value")),
            },
            _ => Err(self.expected("a value (string, number, true, false, list or object)")),
        }
    }

    fn list(&mut self) -> Result<Value, ParseError> {
        self.enter()?;
        self.advance()?;
        let mut list = Vec::new();
        while !self.accept(']')? {
            list.push(self.value()?);
            if !self.accept(',')? && self.token != Token::Sign(']') {
                return Err(self.expected("\",\" or \"]\""));
            }
        }
        self.depth -= 1;
        Ok(Value::List(list))
    }
}
