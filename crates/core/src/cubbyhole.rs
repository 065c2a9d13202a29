//! The cubbyhole: storage of one token, gone with it.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_logical::{Auth, Backend, Error, MountInfo, Operation, PathTable, Request, Response, Row, Services, View};
use serde_json::{Map, Value};

struct Cubbyhole {
    view: View,
}

// No field table: every field of the body belongs to the secret, also one named `path`.
const TABLE: &PathTable = &[Row {
    id: "secret",
    pattern: "*path",
    operations: &[Operation::Create, Operation::Read, Operation::Update, Operation::Delete, Operation::List],
    fields: &[],
    auth: Auth::Token,
    help: "Secrets that only this token can reach and that end with it.",
}];

/// Makes the one cubbyhole mount.
pub fn factory(_: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(Cubbyhole { view: services.view }))
}

impl Cubbyhole {
    fn path(&self, request: &Request) -> Result<String, Error> {
        if request.caller.token_hash.is_empty() {
            let text = "cubbyhole operations are only supported by service type tokens";
            return Err(Error::NotFound(Some(text.to_owned())));
        }
        Ok(format!("{}/{}", request.caller.token_hash, request.fields.string("path").unwrap_or_default()))
    }
}

#[async_trait]
impl Backend for Cubbyhole {
    fn paths(&self) -> &'static PathTable {
        TABLE
    }

    async fn handle(&self, mut request: Request) -> Result<Response, Error> {
        let path = self.path(&request)?;
        match request.operation {
            Operation::Read => match self.view.get_json::<Map<String, Value>>(&path).await? {
                Some((data, _)) => Ok(Response::data(data)),
                None => Err(Error::not_found()),
            },
            Operation::Create | Operation::Update => {
                if path.ends_with('/') {
                    return Err(Error::invalid("missing path"));
                }
                let data = request.fields.take_unknown();
                if data.is_empty() {
                    return Err(Error::invalid("missing data fields"));
                }
                self.view.put_json(&path, &data).await?;
                Ok(Response::empty())
            }
            Operation::Delete => {
                self.view.delete(&path).await?;
                Ok(Response::empty())
            }
            Operation::List => {
                let folder = format!("{}/", path.trim_end_matches('/'));
                Response::keys(self.view.list(&folder, "", 0).await?)
            }
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        Ok(Some(self.view.get(&self.path(request)?).await?.is_some()))
    }
}
