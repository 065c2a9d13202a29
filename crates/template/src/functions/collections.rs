//! Lists and maps.

use std::rc::Rc;

use super::{
    Function,
    arguments::{list, map, text},
    row,
    text::{join, split},
    values::is_in,
};
use crate::{
    format,
    value::{Map, Value},
};

pub(crate) const ROWS: &[Function] = &[
    row("byKey", (1, 1), "PAIRS", "pairs with .Key and .Value in a map by the first part of their keys", |args, _| {
        by_key(list(args, 0)?)
    }),
    row("contains", (2, 2), "NEEDLE ALL", "is it in the list or text?", |args, _| {
        Ok(Value::Bool(is_in(&args[1], &args[0])))
    }),
    row("containsAll", (2, 2), "NEEDLES ALL", "are all of them in it?", |args, _| some(args, true, true)),
    row("containsAny", (2, 2), "NEEDLES ALL", "is one of them in it?", |args, _| some(args, false, false)),
    row("containsNone", (2, 2), "NEEDLES ALL", "is none of them in it?", |args, _| some(args, true, false)),
    row("containsNotAll", (2, 2), "NEEDLES ALL", "is one of them not in it?", |args, _| some(args, false, true)),
    row("explodeMap", (1, 1), "MAP", "keys with slashes as maps in maps", |args, _| {
        let mut all = Map::new();
        for (key, value) in map(args, 0)? {
            explode(&mut all, key, value, 0)?;
        }
        Ok(Value::Map(Rc::new(all)))
    }),
    row("in", (2, 2), "ALL NEEDLE", "is it in the list or text?", |args, _| Ok(Value::Bool(is_in(&args[0], &args[1])))),
    row("join", (2, 2), "SEPARATOR LIST", "the elements as one text", |args, _| join(text(args, 0)?, &args[1])),
    row("mergeMap", (2, 2), "MAP OTHER", "the map, and what only the other has", |args, _| {
        Ok(Value::Map(Rc::new(merged(map(args, 0)?, map(args, 1)?, false, 0)?)))
    }),
    row("mergeMapWithOverride", (2, 2), "MAP OTHER", "the map, overridden by the other", |args, _| {
        Ok(Value::Map(Rc::new(merged(map(args, 0)?, map(args, 1)?, true, 0)?)))
    }),
    row("split", (2, 2), "SEPARATOR TEXT", "the parts of a text", |args, _| Ok(split(text(args, 0)?, text(args, 1)?))),
    row("splitToMap", (3, 3), "SEPARATOR INNER TEXT", "the parts of a text, each a key and its value", |args, _| {
        let (outer, inner, whole) = (text(args, 0)?, text(args, 1)?, text(args, 2)?.trim());
        let pairs = whole.split(outer).filter_map(|part| part.split_once(inner));
        Ok(Value::map(pairs.map(|(key, value)| (key.to_owned(), Value::text(value)))))
    }),
];

/// Deepest maps in maps.
const MAX_DEPTH: usize = 64;

/// `done` is the answer when no needle decides; `invert` turns the question about each around.
fn some(args: &[Value], done: bool, invert: bool) -> Result<Value, String> {
    let decided = list(args, 0)?.iter().any(|needle| is_in(&args[1], needle) != invert);
    Ok(Value::Bool(decided != done))
}

fn explode(into: &mut Map, key: &str, value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("a key has too many parts".to_owned());
    }
    match key.split_once('/') {
        None if key.is_empty() => Ok(()),
        None => {
            into.insert(key.to_owned(), value.clone());
            Ok(())
        }
        Some((top, rest)) => {
            let below = into.entry(top.to_owned()).or_insert_with(|| Value::Map(Rc::default()));
            let Value::Map(below) = below else { return Err(format!("not a map: {top:?} already has a value")) };
            explode(Rc::make_mut(below), rest, value, depth + 1)
        }
    }
}

/// As the Go package mergo: what is empty counts as absent, maps in both are merged.
pub(super) fn merged(base: &Map, other: &Map, over: bool, depth: usize) -> Result<Map, String> {
    if depth > MAX_DEPTH {
        return Err("maps are nested too deeply".to_owned());
    }
    let mut all = base.clone();
    for (key, value) in other {
        let new = match (all.get(key), value) {
            (Some(Value::Map(one)), Value::Map(two)) => Value::Map(Rc::new(merged(one, two, over, depth + 1)?)),
            (Some(known), _) if known.is_true() && !over => continue,
            (Some(_), value) if !value.is_true() && !over => continue,
            (_, value) => value.clone(),
        };
        all.insert(key.clone(), new);
    }
    Ok(all)
}

fn by_key(pairs: &[Value]) -> Result<Value, String> {
    let mut groups = Map::new();
    for pair in pairs {
        let Value::Map(pair) = pair else { return Err("wants pairs with Key and Value".to_owned()) };
        let key = pair.get("Key").map(format::plain).ok_or("a pair has no Key")?;
        let Some((top, rest)) = key.split_once('/') else { continue };
        let mut inner = Map::clone(pair);
        inner.insert("Key".to_owned(), Value::text(rest));
        let group = groups.entry(top.to_owned()).or_insert_with(|| Value::Map(Rc::default()));
        if let Value::Map(group) = group {
            Rc::make_mut(group).insert(rest.to_owned(), Value::Map(Rc::new(inner)));
        }
    }
    Ok(Value::Map(Rc::new(groups)))
}
