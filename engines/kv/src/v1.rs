//! Version 1: one value per path, no history.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_base::duration;
use holdfast_logical::{
    Auth, Backend, Check, Data, Error, Event, MountInfo, Operation, PathTable, Request, Response, Row, Services,
    StoreError, Txn, View,
};
use parking_lot::RwLock;
use serde_json::{Value, value::RawValue};

use crate::{
    secret_path,
    walk::{self, Page},
};

/// Folder of the mount that holds the secrets.
pub(crate) const LEFT: &str = "secret";

/// Key of the mount that is there once the mount is of version 2: then this version writes nothing any more.
pub(crate) const UPGRADED: &str = "v2";

/// Id of the one row.
pub(crate) const ROUTE: &str = "secret";

/// A kv version 1 mount.
pub(crate) struct Plain {
    whole: View,
    view: View,
    mount: RwLock<Arc<MountInfo>>,
}

// No field table: every field of the body belongs to the secret, also one named `path`.
static PATHS: &PathTable = &[Row {
    id: ROUTE,
    pattern: "*path",
    operations: &[
        Operation::Read,
        Operation::Create,
        Operation::Update,
        Operation::Delete,
        Operation::List,
        Operation::Scan,
    ],
    fields: &[],
    auth: Auth::Token,
    help: "A secret: any JSON object. Lists name what is directly below a folder, scans all below it; `after` and `limit` page.",
}];

impl Plain {
    pub fn new(mount: Arc<MountInfo>, services: &Services) -> Self {
        Self { whole: services.view.clone(), view: services.view.below(LEFT), mount: RwLock::new(mount) }
    }

    /// Commits, unless the mount was upgraded since the request was routed.
    async fn commit(&self, mut txn: Txn) -> Result<Response, Error> {
        txn.check(self.whole.path(UPGRADED), Check::Absent);
        match self.view.commit(txn).await {
            Ok(_) => Ok(Response::empty()),
            Err(StoreError::Conflict) => Err(upgraded()),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, path: &str) -> Result<Response, Error> {
        let Ok(path) = secret_path(path) else { return Err(Error::not_found()) };
        let Some((raw, _)) = self.view.get_json::<Box<RawValue>>(path).await? else {
            let moved = self.whole.get(UPGRADED).await?.is_some();
            return Err(if moved { upgraded() } else { Error::not_found() });
        };
        let hint = lease_hint(&raw).unwrap_or(self.mount.read().default_ttl);
        Ok(Response { data: Some(Data::Raw(raw)), lease_hint: Some(hint), ..Response::default() })
    }
}

#[async_trait]
impl Backend for Plain {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, mut request: Request) -> Result<Response, Error> {
        let body = request.fields.take_unknown();
        let path = request.fields.string("path").unwrap_or_default();
        match request.operation {
            Operation::Read => self.read(path).await,
            Operation::List | Operation::Scan => {
                let (folder, page) = (walk::folder(path), Page::read(|name| body.get(name).cloned())?);
                Response::keys(match request.operation {
                    Operation::List => walk::list(&[&self.view], &folder, &page).await?,
                    _ => walk::scan(&[&self.view], &folder, &page).await?,
                })
            }
            Operation::Create | Operation::Update => {
                let path = secret_path(path)?;
                if body.is_empty() {
                    return Err(Error::invalid("missing data fields"));
                }
                let mut txn = Txn::new();
                txn.put_json(self.view.path(path), &Value::Object(body))?;
                Ok(self.commit(txn).await?.tell(Event::new("kv-v1", "write", path).data_path(path)))
            }
            Operation::Delete => {
                let Ok(path) = secret_path(path) else { return Ok(Response::empty()) };
                let mut txn = Txn::new();
                txn.delete(self.view.path(path));
                Ok(self.commit(txn).await?.tell(Event::new("kv-v1", "delete", path).data_path(path)))
            }
            Operation::Patch | Operation::Help => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match secret_path(request.fields.string("path").unwrap_or_default()) {
            Ok(path) => Ok(Some(self.view.revision(path).await?.is_some())),
            Err(_) => Ok(Some(false)),
        }
    }

    async fn tuned(&self, mount: Arc<MountInfo>) {
        *self.mount.write() = mount;
    }
}

/// The request was routed before the mount became one of version 2; the next try goes the new way.
fn upgraded() -> Error {
    Error::Unavailable("the mount was upgraded to version 2 at this moment: try again".to_owned())
}

/// The lease duration that the secret itself asks for in `ttl` or `lease`.
fn lease_hint(raw: &RawValue) -> Option<Duration> {
    // Most secrets have neither; look before parsing.
    if !raw.get().contains("\"ttl\"") && !raw.get().contains("\"lease\"") {
        return None;
    }
    let Value::Object(secret) = serde_json::from_str(raw.get()).ok()? else { return None };
    let hint = secret.get("ttl").or_else(|| secret.get("lease"))?;
    match hint {
        Value::String(text) => duration::parse(text).ok(),
        Value::Number(number) => number.as_u64().map(Duration::from_secs),
        _ => None,
    }
}
