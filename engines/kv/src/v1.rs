//! Version 1: one value per path, no history.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_base::duration;
use holdfast_logical::{
    Auth, Backend, Data, Error, MountInfo, Operation, PathTable, Request, Response, Row, Services, View,
};
use parking_lot::RwLock;
use serde_json::{Value, value::RawValue};

use crate::secret_path;

/// A kv version 1 mount.
pub(crate) struct Plain {
    view: View,
    mount: RwLock<Arc<MountInfo>>,
}

// No field table: every field of the body belongs to the secret, also one named `path`.
static PATHS: &PathTable = &[Row {
    id: "secret",
    pattern: "*path",
    operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete, Operation::List],
    fields: &[],
    auth: Auth::Token,
    help: "A secret: any JSON object. Lists name what is directly below a folder.",
}];

impl Plain {
    pub fn new(mount: Arc<MountInfo>, services: Services) -> Self {
        Self { view: services.view.below("secret"), mount: RwLock::new(mount) }
    }

    async fn read(&self, path: &str) -> Result<Response, Error> {
        let Ok(path) = secret_path(path) else { return Err(Error::not_found()) };
        let (raw, _) = self.view.get_json::<Box<RawValue>>(path).await?.ok_or_else(Error::not_found)?;
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
            Operation::List => {
                let folder = path.trim_end_matches('/');
                let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                Response::keys(self.view.list(&folder, "", 0).await?)
            }
            Operation::Create | Operation::Update => {
                let path = secret_path(path)?;
                if body.is_empty() {
                    return Err(Error::invalid("missing data fields"));
                }
                self.view.put_json(path, &Value::Object(body)).await?;
                Ok(Response::empty())
            }
            Operation::Delete => {
                if let Ok(path) = secret_path(path) {
                    self.view.delete(path).await?;
                }
                Ok(Response::empty())
            }
            Operation::Patch | Operation::Scan | Operation::Help => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match secret_path(request.fields.string("path").unwrap_or_default()) {
            Ok(path) => Ok(Some(self.view.get(path).await?.is_some())),
            Err(_) => Ok(Some(false)),
        }
    }

    async fn tuned(&self, mount: Arc<MountInfo>) {
        *self.mount.write() = mount;
    }
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
