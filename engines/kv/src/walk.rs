//! Lists: one folder, or everything below it, page by page.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use holdfast_logical::{Error, View};
use serde_json::Value;

/// Which part of a list is wanted.
#[derive(Default)]
pub(crate) struct Page {
    /// Only names that sort after this one; it need not be there.
    pub after: String,
    /// At most so many; 0 is all.
    pub limit: usize,
}

impl Page {
    /// `after` and `limit` as they were sent; a limit of 0 or less is none.
    pub fn read(sent: impl Fn(&str) -> Option<Value>) -> Result<Self, Error> {
        let after = match sent("after") {
            Some(Value::String(after)) => after,
            _ => String::new(),
        };
        let limit = match sent("limit") {
            None | Some(Value::Null) => Some(0),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) if text.is_empty() => Some(0),
            Some(Value::String(text)) => text.parse::<i64>().ok(),
            Some(_) => None,
        };
        let limit = limit.ok_or_else(|| Error::invalid("field \"limit\": it must be a whole number"))?;
        Ok(Self { after, limit: usize::try_from(limit).unwrap_or(0) })
    }

    fn full(&self, found: usize) -> bool {
        self.limit > 0 && found >= self.limit
    }
}

/// The folder that a path names, with a slash at the end unless it is the top.
pub(crate) fn folder(path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

/// Names directly below a folder of any of the views, sorted, each once.
pub(crate) async fn list(views: &[&View], folder: &str, page: &Page) -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for view in views {
        names.extend(view.list(folder, &page.after, page.limit).await?);
    }
    let limit = if page.limit == 0 { names.len() } else { page.limit };
    Ok(names.into_iter().take(limit).collect())
}

/// Paths of all that is below a folder of any of the views, relative to it, sorted, each once.
pub(crate) async fn scan(views: &[&View], folder: &str, page: &Page) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    below(views, folder, String::new(), page, &mut found).await?;
    Ok(found)
}

fn below<'a>(
    views: &'a [&View],
    folder: &'a str,
    relative: String,
    page: &'a Page,
    found: &'a mut Vec<String>,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        for name in list(views, &format!("{folder}{relative}"), &Page::default()).await? {
            if page.full(found.len()) {
                return Ok(());
            }
            let path = format!("{relative}{name}");
            if !name.ends_with('/') {
                if path > page.after {
                    found.push(path);
                }
            } else if path > page.after || page.after.starts_with(&path) {
                below(views, folder, path, page, found).await?;
            }
        }
        Ok(())
    })
}

/// `data` of a list: keys, and what is known of each where that is asked for.
pub(crate) fn answer(
    keys: Vec<String>,
    info: Option<BTreeMap<String, Value>>,
) -> Result<holdfast_logical::Response, Error> {
    let mut response = holdfast_logical::Response::keys(keys.clone())?;
    if let Some(info) = info {
        response = holdfast_logical::Response::data(serde_json::json!({ "keys": keys, "key_info": info }));
    }
    Ok(response)
}
