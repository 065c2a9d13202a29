//! What a text becomes.

use serde_json::{Map, Number, Value as Json};

/// Line and column, both from 1; columns count characters. JSON input has positions only in errors (0, 0 in the tree).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Attributes and blocks between two braces, or of the whole text, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// In the order of the text; keys may repeat.
    pub items: Vec<Item>,
}

/// One entry of a [`Body`].
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `key = value`
    Attribute(Attribute),
    /// `kind "label" … { … }`
    Block(Block),
}

/// `key = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Left of the `=`.
    pub key: String,
    /// Right of it.
    pub value: Value,
    /// Of the key.
    pub position: Position,
}

/// `kind "label" … { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// First word.
    pub kind: String,
    /// Words or strings between the kind and the brace; any number.
    pub labels: Vec<String>,
    /// Between the braces.
    pub body: Body,
    /// Of the kind.
    pub position: Position,
}

/// Right side of an attribute, or element of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, with escapes resolved; `${…}` is kept as written.
    String(String),
    /// A number, exact.
    Number(Number),
    /// `true` or `false`
    Bool(bool),
    /// JSON only.
    Null,
    /// `[a, b]`
    List(Vec<Value>),
    /// `{ a = b }`
    Object(Body),
}

/// A block as [`Body::blocks`] finds it, whichever way it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'a> {
    /// Exactly as many as were asked for.
    pub labels: Vec<&'a str>,
    /// The content.
    pub body: &'a Body,
    /// Of the item that holds it.
    pub position: Position,
}

/// A block was written with another number of labels, or where a value of another kind stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {kind:?} must be a block with {labels} label(s)", .position.line, .position.column)]
pub struct ShapeError {
    /// The word.
    pub kind: String,
    /// How many labels it takes.
    pub labels: usize,
    /// Of the item.
    pub position: Position,
}

// === impl Body ===

impl Body {
    /// The keys of all items, attributes and blocks alike, in order, with repeats.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Position)> {
        self.items.iter().map(|item| (item.key(), item.position()))
    }

    /// The last attribute of this key (as HCL decoding does when a key repeats).
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.items.iter().rev().find_map(|item| match item {
            Item::Attribute(attribute) if attribute.key == key => Some(&attribute.value),
            _ => None,
        })
    }

    /// Text of the last attribute of this key; numbers and booleans become text.
    pub fn string(&self, key: &str) -> Option<String> {
        match self.attribute(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }

    /// Every block of this kind with `labels` labels, in order, whether written `kind "a" {…}`, `kind { a {…} }`,
    /// `kind = { a = {…} }`, `kind = [{…}]` or in JSON.
    pub fn blocks(&self, kind: &str, labels: usize) -> Result<Vec<Found<'_>>, ShapeError> {
        let mut found = Vec::new();
        for item in self.items.iter().filter(|item| item.key() == kind) {
            let position = item.position();
            let complete = match item {
                Item::Block(block) => {
                    let names: Vec<&str> = block.labels.iter().map(String::as_str).collect();
                    names.len() <= labels && descend(&block.body, names, labels, position, &mut found)
                }
                Item::Attribute(attribute) => open(&attribute.value, Vec::new(), labels, position, &mut found),
            };
            if !complete {
                return Err(ShapeError { kind: kind.to_owned(), labels, position });
            }
        }
        Ok(found)
    }

    /// As Vault's HCL decoder shows it: attributes as members, blocks as lists of objects with one object per label:
    /// `listener "tcp" { a = 1 }` is `{"listener": [{"tcp": [{"a": 1}]}]}`. A repeated attribute becomes a list.
    pub fn to_json(&self) -> Map<String, Json> {
        let mut map: Map<String, Json> = Map::new();
        for item in &self.items {
            let (value, listed) = match item {
                Item::Attribute(attribute) => (attribute.value.to_json(), false),
                Item::Block(block) => {
                    let inner = Json::Object(block.body.to_json());
                    let nest = |inner, label: &String| {
                        Json::Object(Map::from_iter([(label.clone(), Json::Array(vec![inner]))]))
                    };
                    (block.labels.iter().rev().fold(inner, nest), true)
                }
            };
            match map.remove(item.key()) {
                None if listed => map.insert(item.key().to_owned(), Json::Array(vec![value])),
                None => map.insert(item.key().to_owned(), value),
                Some(Json::Array(mut list)) if listed => {
                    list.push(value);
                    map.insert(item.key().to_owned(), Json::Array(list))
                }
                Some(first) => map.insert(item.key().to_owned(), Json::Array(vec![first, value])),
            };
        }
        map
    }
}

fn descend<'a>(
    body: &'a Body,
    names: Vec<&'a str>,
    labels: usize,
    position: Position,
    found: &mut Vec<Found<'a>>,
) -> bool {
    if names.len() == labels {
        found.push(Found { labels: names, body, position });
        return true;
    }
    body.items.iter().all(|item| {
        let mut names = names.clone();
        names.push(item.key());
        match item {
            Item::Attribute(attribute) => open(&attribute.value, names, labels, position, found),
            Item::Block(block) => {
                names.extend(block.labels.iter().map(String::as_str));
                names.len() <= labels && descend(&block.body, names, labels, position, found)
            }
        }
    })
}

fn open<'a>(
    value: &'a Value,
    names: Vec<&'a str>,
    labels: usize,
    position: Position,
    found: &mut Vec<Found<'a>>,
) -> bool {
    match value {
        Value::Object(body) => descend(body, names, labels, position, found),
        Value::List(list) => list.iter().all(|value| open(value, names.clone(), labels, position, found)),
        _ => false,
    }
}

// === impl Item ===

impl Item {
    /// Key of the attribute or kind of the block.
    pub fn key(&self) -> &str {
        match self {
            Self::Attribute(attribute) => &attribute.key,
            Self::Block(block) => &block.kind,
        }
    }

    /// Where its first word stands.
    pub fn position(&self) -> Position {
        match self {
            Self::Attribute(attribute) => attribute.position,
            Self::Block(block) => block.position,
        }
    }
}

// === impl Value ===

impl Value {
    /// The same in JSON; objects as objects.
    pub fn to_json(&self) -> Json {
        match self {
            Self::String(text) => Json::String(text.clone()),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Null => Json::Null,
            Self::List(list) => Json::Array(list.iter().map(Self::to_json).collect()),
            Self::Object(body) => Json::Object(body.to_json()),
        }
    }

    /// Text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// Members, if it is an object.
    pub fn as_object(&self) -> Option<&Body> {
        match self {
            Self::Object(body) => Some(body),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_same_block_in_every_spelling() {
        for text in [
            r#"path "a/*" { x = 1 }"#,
            r#"path { "a/*" { x = 1 } }"#,
            r#"path = { "a/*" = { x = 1 } }"#,
            r#"path = [{ "a/*" = { x = 1 } }]"#,
            r#"{"path": {"a/*": {"x": 1}}}"#,
            r#"{"path": [{"a/*": [{"x": 1}]}]}"#,
        ] {
            let body = crate::parse(text).unwrap();
            let found = body.blocks("path", 1).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].labels, ["a/*"], "{text}");
            assert_eq!(found[0].body.string("x").as_deref(), Some("1"), "{text}");
        }
        assert!(crate::parse(r#"path "a" "b" {}"#).unwrap().blocks("path", 1).is_err());
        assert!(crate::parse("path = 5").unwrap().blocks("path", 1).is_err());
        assert!(crate::parse("path { x = 1 }").unwrap().blocks("path", 1).is_err());
    }

    #[test]
    fn json_as_vaults_decoder_shows_it() {
        let text = "ui = true\nlistener \"tcp\" { a = 1 }\nlistener \"unix\" {}\nx = 1\nx = 2";
        let json = serde_json::Value::Object(crate::parse(text).unwrap().to_json());
        let expected = json!({"ui": true, "listener": [{"tcp": [{"a": 1}]}, {"unix": [{}]}], "x": [1, 2]});
        assert_eq!(json, expected);
    }
}
