//! Runs the nodes. What the source lacks is noted, counts as nil, and makes the whole pass answer
//! [`Error::Missing`](crate::Error::Missing), so that one pass names as much as it can.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use holdfast_secret::SecretString;
use zeroize::Zeroizing;

use crate::{
    Call, Error, Source, Template,
    ast::{Branch, Node, Operand, Pipe},
    format, functions,
    value::Value,
};

/// Largest text a template may render, in bytes.
const MAX_OUTPUT: usize = 8 << 20;
/// Turns of all loops of one pass.
const MAX_TURNS: usize = 1 << 20;
/// Deepest `template` inside `template`.
const MAX_DEPTH: usize = 100;
/// Deepest nesting of blocks and templates together: each takes some of the stack.
const MAX_NESTING: usize = 200;
/// Work of one pass, about one unit for each byte that is looked at or made: a second or two at most.
const MAX_WORK: usize = 1 << 27;
/// Work of one node, or of one item of a list, whatever is in it.
const STEP: usize = 64;

/// One pass over a template.
pub(crate) struct Pass<'a> {
    template: &'a Template,
    pub(crate) source: &'a dyn Source,
    pub(crate) missing: RefCell<Vec<Call>>,
    pub(crate) scratch: RefCell<BTreeMap<String, Value>>,
    output: Zeroizing<String>,
    variables: Vec<(String, Value)>,
    turns: usize,
    depth: usize,
    nesting: usize,
    work: usize,
    /// Of the action that runs, for errors of no action in particular.
    line: usize,
}

enum Flow {
    On,
    Break,
    Continue,
}

pub(crate) fn render(
    template: &Template,
    root: &serde_json::Value,
    source: &dyn Source,
) -> Result<SecretString, Error> {
    let root = Value::from_json(root);
    let mut pass = Pass {
        template,
        source,
        missing: RefCell::default(),
        scratch: RefCell::default(),
        output: Zeroizing::new(String::with_capacity(1024)),
        variables: vec![("$".to_owned(), root.clone())],
        turns: 0,
        depth: 0,
        nesting: 0,
        work: 0,
        line: 1,
    };
    let outcome = pass.nodes(&template.main, &root);
    let missing = pass.missing.take();
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    outcome?;
    Ok(SecretString::new(std::mem::take(&mut *pass.output)))
}

impl<'a> Pass<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(fail(self.line, "blocks and templates are nested too deeply"));
        }
        let mut flow = Flow::On;
        for node in nodes {
            self.spend(STEP)?;
            flow = self.node(node, dot)?;
            if !matches!(flow, Flow::On) {
                break;
            }
        }
        self.nesting -= 1;
        Ok(flow)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.write(text, 0)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.write(&format::printed(&value), pipe.line)?;
                }
            }
            Node::If(branch) => return self.condition(branch, dot, false),
            Node::With(branch) => return self.condition(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { line, name, pipe } => self.call(*line, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn condition(&mut self, branch: &'a Branch, dot: &Value, with: bool) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if value.is_true() {
            self.nodes(&branch.body, if with { &value } else { dot })?
        } else {
            self.nodes(&branch.otherwise, dot)?
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let line = branch.pipe.line;
        let value = self.pipe(&branch.pipe, dot)?;
        if !matches!(value, Value::Int(_)) {
            self.spend(value.weight())?;
        }
        let items: Vec<(Value, Value)> = match &value {
            Value::Missing | Value::Nil => Vec::new(),
            Value::List(items) => (0..).map(Value::Int).zip(items.iter().cloned()).collect(),
            Value::Map(map) => map.iter().map(|(key, value)| (Value::text(key.as_str()), value.clone())).collect(),
            Value::Int(count) => {
                let count = (*count).clamp(0, i64::try_from(MAX_TURNS).unwrap_or(i64::MAX) + 1);
                self.spend(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(STEP))?;
                (0..count).map(|index| (Value::Int(index), Value::Int(index))).collect()
            }
            other => return Err(fail(line, format!("range can't iterate over a {}", other.kind()))),
        };
        let names = &branch.pipe.variables;
        // The pipeline has set its variables to the whole value; they are the loop's now.
        if !branch.pipe.assign {
            self.variables.truncate(scope);
        }
        let mut flow = Flow::On;
        for (key, item) in &items {
            self.turns += 1;
            if self.turns > MAX_TURNS {
                return Err(fail(line, format!("more than {MAX_TURNS} turns")));
            }
            let mark = self.variables.len();
            let values: &[&Value] = if names.len() == 2 { &[key, item] } else { &[item] };
            for (name, value) in names.iter().zip(values) {
                self.set(name, (*value).clone(), branch.pipe.assign);
            }
            let turn = self.nodes(&branch.body, item)?;
            self.variables.truncate(mark);
            if matches!(turn, Flow::Break) {
                break;
            }
        }
        if items.is_empty() {
            flow = self.nodes(&branch.otherwise, dot)?;
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn call(&mut self, line: usize, name: &str, pipe: Option<&'a Pipe>, dot: &Value) -> Result<(), Error> {
        let value = pipe.map_or(Ok(Value::Missing), |pipe| self.pipe(pipe, dot))?;
        self.call_with(line, name, value)
    }

    fn call_with(&mut self, line: usize, name: &str, value: Value) -> Result<(), Error> {
        let template = self.template;
        let nodes = template.defined.get(name).ok_or_else(|| fail(line, format!("template {name:?} not defined")))?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fail(line, format!("template {name:?} is nested too deeply")));
        }
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        self.nodes(nodes, &value)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Error> {
        self.line = pipe.line;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot, pipe.line)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn command(
        &mut self,
        operands: &'a [Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Error> {
        let Some((first, rest)) = operands.split_first() else { return Ok(Value::Nil) };
        let Operand::Function(name) = first else {
            return self.method(first, rest, piped, dot, line);
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.short_circuit(name == "and", rest, piped, dot, line);
        }
        let args = self.arguments(rest, piped, dot, line)?;
        // What goes in is looked at, what comes out is made; what could be far more than both is foretold.
        let given = args.iter().fold(0usize, |sum, arg| sum.saturating_add(arg.weight()));
        self.spend(given.saturating_add(functions::swell(name, &args)))?;
        if name == "executeTemplate" {
            return self.execute(&args, line);
        }
        let value = functions::call(name, &args, self).map_err(|reason| fail(line, format!("{name}: {reason}")))?;
        self.spend(value.weight())?;
        // In Go these change the map itself, which is why templates throw their result away.
        if matches!(name.as_str(), "sprig_set" | "sprig_unset")
            && let Some(Operand::Variable(variable, names)) = rest.first()
            && names.is_empty()
        {
            self.set(variable, value.clone(), true);
        }
        Ok(value)
    }

    fn arguments(
        &mut self,
        operands: &'a [Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut args = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            args.push(self.operand(operand, dot, line)?);
        }
        args.extend(piped);
        Ok(args)
    }

    /// A command that begins with a value: the value, or with `scratch` in front of its last name a method of that.
    fn method(
        &mut self,
        first: &'a Operand,
        rest: &'a [Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Error> {
        let (base, names) = match first {
            Operand::Variable(name, names) => (self.variable(name)?, names.as_slice()),
            Operand::Pipe(pipe, names) => (self.pipe(pipe, dot)?, names.as_slice()),
            other => (self.operand(other, dot, line)?, &[][..]),
        };
        if let (Value::Scratch, [method]) = (&base, names) {
            let args = self.arguments(rest, piped, dot, line)?;
            let given = args.iter().fold(STEP, |sum, arg| sum.saturating_add(arg.weight()));
            self.spend(given)?;
            return functions::scratch(method, &args, self)
                .map_err(|reason| fail(line, format!("scratch.{method}: {reason}")));
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(fail(line, "a value that is no function has arguments"));
        }
        self.fields(base, names, line)
    }

    fn variable(&mut self, name: &str) -> Result<Value, Error> {
        self.spend(self.variables.len())?;
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        Ok(found.map_or(Value::Missing, |(_, value)| value.clone()))
    }

    /// `executeTemplate "name" value`: what a defined template prints, as a value.
    fn execute(&mut self, args: &[Value], line: usize) -> Result<Value, Error> {
        let (Some(Value::Text(name)), 1..=2) = (args.first(), args.len()) else {
            return Err(fail(line, "executeTemplate: wants the name of a template and at most one value"));
        };
        let outer = std::mem::take(&mut self.output);
        let done = self.call_with(line, name, args.get(1).cloned().unwrap_or(Value::Nil));
        let printed = std::mem::replace(&mut self.output, outer);
        done?;
        self.spend(printed.len())?;
        Ok(Value::Text(Rc::new(printed)))
    }

    fn short_circuit(
        &mut self,
        and: bool,
        operands: &'a [Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Error> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, dot, line)?;
            if value.is_true() != and {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| fail(line, "and, or: wrong number of args: want at least 1 got 0"))
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Value, line: usize) -> Result<Value, Error> {
        self.spend(8)?;
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value, None),
            Operand::Text(text) => {
                self.spend(text.len())?;
                Value::text(text.as_str())
            }
            Operand::Field(names) => self.fields(dot.clone(), names, line)?,
            Operand::Function(name) => {
                functions::call(name, &[], self).map_err(|reason| fail(line, format!("{name}: {reason}")))?
            }
            Operand::Variable(..) | Operand::Pipe(..) => self.method(operand, &[], None, dot, line)?,
        })
    }

    fn fields(&self, mut value: Value, names: &[String], line: usize) -> Result<Value, Error> {
        for name in names {
            value =
                value.field(name, self.template.options.error_on_missing_key).map_err(|reason| fail(line, reason))?;
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Value, assign: bool) {
        if assign && let Some(known) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            known.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    /// Counts work. What is rendered is somebody else's text: without a bound one template could take all memory, or
    /// the whole life, of the process that renders it for many.
    fn spend(&mut self, work: usize) -> Result<(), Error> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK {
            return Err(fail(self.line, "the template takes too much work"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str, line: usize) -> Result<(), Error> {
        if self.output.len() + text.len() > MAX_OUTPUT {
            return Err(fail(line, format!("more than {MAX_OUTPUT} bytes of output")));
        }
        if self.output.len() + text.len() > self.output.capacity() {
            // A growing String would leave its old memory behind unzeroed.
            let capacity = (self.output.capacity() * 2).max(self.output.len() + text.len());
            let mut grown = Zeroizing::new(String::with_capacity(capacity));
            grown.push_str(&self.output);
            self.output = grown;
        }
        self.output.push_str(text);
        Ok(())
    }
}

fn fail(line: usize, reason: impl Into<String>) -> Error {
    Error::Render { line, reason: reason.into() }
}
