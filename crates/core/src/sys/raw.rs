//! `sys/raw`: the decrypted store, as it is. Off unless the configuration says `raw_storage_endpoint = true`.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_logical::{
    Auth, Error as Logical, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Response, Row,
};
use holdfast_secret::SecretBytes;
use serde_json::json;

use crate::{
    Error,
    call::{Call, Reply},
};

pub const ROWS: &PathTable = &[Row {
    id: "raw",
    pattern: "raw/*path",
    operations: &[Read, Update, Delete, List],
    fields: &[
        Field::new("path", Kind::String, "Path in the store."),
        Field::sensitive("value", Kind::String, "What is to be stored."),
        Field::new("encoding", Kind::String, "base64, or nothing for text."),
        Field::new("compressed", Kind::Bool, "Ignored."),
    ],
    auth: Auth::Sudo,
    help: "The decrypted store, if the configuration allows it (raw_storage_endpoint).",
}];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    if !call.open.config.raw_storage {
        return Err(Logical::NotFound(Some("unsupported path".to_owned())).into());
    }
    let (root, fields) = (&call.open.root, &call.request.fields);
    let path = fields.string("path").unwrap_or_default();
    let base64 = match fields.string("encoding").unwrap_or_default() {
        "" => false,
        "base64" => true,
        other => return Err(Error::invalid(format!("invalid encoding {other:?}"))),
    };
    match call.request.operation {
        List => {
            let folder = path.trim_end_matches('/');
            let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            Ok(Response::keys(root.list(&folder, "", 0).await?)?.into())
        }
        Read => {
            let entry = root.get(path).await?.ok_or_else(Error::not_found)?;
            let value = match base64 {
                true => STANDARD.encode(entry.value.expose()),
                false => String::from_utf8(entry.value.expose().to_vec())
                    .map_err(|_| Error::invalid("the value is not text; ask with encoding=base64"))?,
            };
            Ok(Response::data(json!({ "value": value })).into())
        }
        Delete => {
            root.delete(path).await?;
            Ok(Reply::default())
        }
        _ => {
            let value = fields.string("value").unwrap_or_default();
            let bytes = match base64 {
                true => STANDARD.decode(value).map_err(|_| Error::invalid("'value' is not base64"))?,
                false => value.as_bytes().to_vec(),
            };
            root.put(path, SecretBytes::new(bytes)).await?;
            Ok(Reply::default())
        }
    }
}
