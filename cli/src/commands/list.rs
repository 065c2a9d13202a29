//! `list`, and how lists of keys are printed everywhere.

use clap::Args;
use holdfast_api_types::Envelope;
use serde_json::Value;

use crate::{
    api::escaped,
    failure::{During, Failure},
    format::{self, Format},
    session::Session,
};

/// List what is there.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    page: Page,
    /// Path.
    path: String,
}

/// Which part of a long list.
#[derive(Args)]
pub struct Page {
    /// Only what sorts after this.
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

impl Page {
    /// The query of a list or scan.
    fn query(&self, verb: &str) -> String {
        let after = self.after.iter().map(|after| format!("&after={}", escaped(after)));
        let limit = self.limit.iter().map(|limit| format!("&limit={limit}"));
        format!("{verb}=true{}", after.chain(limit).collect::<String>())
    }
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let envelope = session.api().read(path, &self.page.query("list")).await;
        print(session, envelope.during(format_args!("listing {path}"))?, path)
    }
}

/// List everything below a folder.
#[derive(Args)]
pub struct Scan {
    #[command(flatten)]
    page: Page,
    /// Path.
    path: String,
}

impl Scan {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let envelope = session.api().read(path, &self.page.query("scan")).await;
        print(session, envelope.during(format_args!("scanning {path}"))?, path)
    }
}

/// The keys of a list answer below `Keys`.
pub(crate) fn print(session: &Session, envelope: Option<Envelope>, path: &str) -> Result<(), Failure> {
    let nothing = || Failure::Nothing(format!("No value found at {path}"));
    let Some(envelope) = envelope else {
        if session.format() == Format::Json {
            session.print("{}");
            return Err(Failure::Quiet(2));
        }
        return Err(nothing());
    };
    if envelope.wrap_info.is_some() || session.field().is_some() {
        return session.secret(&envelope);
    }
    if session.is_table() {
        session.warnings(&envelope);
    }
    let keys = envelope.data.as_ref().and_then(|data| data.get("keys")).cloned().ok_or_else(nothing)?;
    session.value(&keys, || table(&keys))
}

pub(crate) fn table(keys: &Value) -> String {
    let rows: Vec<_> = keys.as_array().into_iter().flatten().map(|key| vec![format::plain(key)]).collect();
    format::columns(&["Keys"], &rows)
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_is_asked_for_in_the_query() {
        let page = |after: Option<&str>, limit| Page { after: after.map(str::to_owned), limit }.query("list");
        assert_eq!(page(None, None), "list=true");
        assert_eq!(page(Some("a&"), Some(2)), "list=true&after=%61%26&limit=2");
    }

    #[test]
    fn keys_below_their_head() {
        assert_eq!(super::table(&serde_json::json!(["a", "b/"])), "Keys\n----\na\nb/");
    }
}
