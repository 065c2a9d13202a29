//! What all paths have in common and no handler should care about: parameters that nobody reads are pointed out, lists
//! are paged (`after` and `limit`, as OpenBao has them).

use holdfast_logical::{Data, Operation, Request};
use serde_json::{Map, Value};

use crate::call::Reply;

/// What is to be done with the answer, from what was asked.
#[derive(Default)]
pub struct Common {
    unknown: Vec<String>,
    replaced: Vec<String>,
    page: Option<Page>,
}

struct Page {
    after: String,
    /// 0: all.
    limit: usize,
}

impl Common {
    /// Takes it from a request whose handler takes only the fields of its row. `most`: so many names may be listed.
    pub fn of(request: &Request, most: Option<usize>) -> Self {
        let unknown = request.fields.unknown();
        match request.operation {
            // What is wrapped is what was sent.
            Operation::Create | Operation::Update | Operation::Patch if request.route != "wrapping/wrap" => {
                let replaced = request.fields.replaced().to_vec();
                let unknown = unknown.keys().filter(|name| !replaced.contains(name)).cloned().collect();
                Self { unknown, replaced, page: None }
            }
            Operation::List | Operation::Scan => {
                let more = unknown.keys().filter(|name| !matches!(name.as_str(), "after" | "limit"));
                Self { unknown: more.cloned().collect(), page: Page::of(unknown, most), ..Self::default() }
            }
            // What is stored as it is takes anything.
            Operation::Read | Operation::Delete if request.route != "secret" => {
                Self { unknown: unknown.keys().cloned().collect(), ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    /// Changes the answer. Warnings go only with an answer that has something in it: a 204 stays one.
    pub fn apply(mut self, reply: &mut Reply) {
        if let Some(page) = self.page {
            reply.response.data = reply.response.data.take().map(|data| page.cut(data));
        }
        if reply.is_empty() || reply.bare.is_some() {
            return;
        }
        for (names, told) in [
            (&mut self.unknown, "Endpoint ignored these unrecognized parameters"),
            (
                &mut self.replaced,
                "Endpoint replaced the value of these parameters with the values captured from the endpoint's path",
            ),
        ] {
            if !names.is_empty() {
                names.sort();
                reply.response.warnings.push(format!("{told}: [{}]", names.join(" ")));
            }
        }
    }
}

impl Page {
    fn of(parameters: &Map<String, Value>, most: Option<usize>) -> Option<Self> {
        let text = |name: &str| match parameters.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let (after, limit) = (text("after"), text("limit"));
        if after.is_none() && limit.is_none() && most.is_none() {
            return None;
        }
        // Less than one means all, as no number does.
        let limit = limit.and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
        let limit = limit.into_iter().chain(most).min().unwrap_or(0);
        Some(Self { after: after.unwrap_or_default(), limit })
    }

    fn cut(self, data: Data) -> Data {
        let mut map = data.into_map();
        let Some(Value::Array(keys)) = map.remove("keys") else { return Data::from(map) };
        let most = if self.limit == 0 { usize::MAX } else { self.limit };
        let after = |key: &Value| key.as_str().is_none_or(|key| key > self.after.as_str());
        let kept: Vec<Value> = keys.into_iter().filter(after).take(most).collect();
        if let Some(Value::Object(info)) = map.get_mut("key_info") {
            info.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
        }
        map.insert("keys".to_owned(), Value::Array(kept));
        Data::from(map)
    }
}
