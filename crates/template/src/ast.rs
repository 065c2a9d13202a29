//! What a template consists of.

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { line: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `if`, `with` and `range`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// `$a, $b := first | second`.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) line: usize,
    /// Variables that get the value.
    pub(crate) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(crate) assign: bool,
    /// At least one; each has at least one operand.
    pub(crate) commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug)]
pub(crate) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`; the name with its `$`.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline).a.b`
    Pipe(Box<Pipe>, Vec<String>),
}
