//! The methods of `scratch`: what a pass keeps for itself under names.

use std::rc::Rc;

use super::arguments::text;
use crate::{
    exec::Pass,
    value::{Map, Value},
};

/// Runs a method.
pub(crate) fn method(name: &str, args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let want = match name {
        "Key" | "Get" | "MapValues" => 1,
        "Set" | "SetX" => 2,
        "MapSet" | "MapSetX" => 3,
        _ => return Err("is no method: use Key, Get, Set, SetX, MapSet, MapSetX or MapValues".to_owned()),
    };
    if args.len() != want {
        return Err(format!("wrong number of args: want {want} got {}", args.len()));
    }
    let key = text(args, 0)?.to_owned();
    let mut kept = pass.scratch.borrow_mut();
    Ok(match name {
        "Key" => Value::Bool(kept.contains_key(&key)),
        "Get" => kept.get(&key).cloned().unwrap_or(Value::Nil),
        "Set" => done(kept.insert(key, args[1].clone())),
        "SetX" => done(kept.entry(key).or_insert_with(|| args[1].clone())),
        "MapValues" => match kept.get(&key) {
            Some(Value::Map(map)) => Value::list(map.values().cloned()),
            _ => Value::list([]),
        },
        _ => {
            let map = kept.entry(key).or_insert_with(|| Value::Map(Rc::default()));
            let Value::Map(map) = map else { return Err("what is there under this name is not a map".to_owned()) };
            let map: &mut Map = Rc::make_mut(map);
            match name {
                "MapSet" => done(map.insert(text(args, 1)?.to_owned(), args[2].clone())),
                _ => done(map.entry(text(args, 1)?.to_owned()).or_insert_with(|| args[2].clone())),
            }
        }
    })
}

/// Setting prints nothing.
fn done<T>(_: T) -> Value {
    Value::text("")
}
