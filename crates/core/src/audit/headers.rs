//! Which request headers reach the audit log (`sys/config/auditing/request-headers`).

use std::collections::BTreeMap;

use holdfast_audit::Header;
use holdfast_logical::{Check, Revision, StoreError, Txn};
use serde::{Deserialize, Serialize};

use super::Audit;
use crate::{Error, raw::Headers as Sent};

/// The stored table.
#[derive(Default)]
pub struct Headers {
    revision: Revision,
    rows: BTreeMap<String, AuditedHeader>,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditedHeader {
    /// As it was written; compared in lower case.
    pub name: String,
    /// Hash it?
    pub hmac: bool,
}

const KEY: &str = "audited-headers";

/// Never logged, whatever is configured: they are credentials.
const SECRET: [&str; 5] = ["x-vault-token", "authorization", "cookie", "proxy-authorization", "x-vault-unseal-key"];

impl Headers {
    /// Those of a request that are to be logged.
    pub fn of(&self, sent: &Sent) -> BTreeMap<String, Header> {
        let row = |(key, row): (&String, &AuditedHeader)| {
            let values = vec![sent.text(key)?.into_owned()];
            Some((key.clone(), Header { values, clear: !row.hmac }))
        };
        self.rows.iter().filter_map(row).collect()
    }
}

impl Audit {
    /// All, by name as written.
    pub fn audited_headers(&self) -> Vec<AuditedHeader> {
        self.headers.load().rows.values().cloned().collect()
    }

    /// Logs a header from now on, or no longer.
    pub async fn set_header(&self, name: &str, hmac: Option<bool>) -> Result<(), Error> {
        let key = name.to_ascii_lowercase();
        if SECRET.contains(&key.as_str()) {
            return Err(Error::invalid(format!("header {name:?} is a credential and cannot be audited")));
        }
        loop {
            let stored: Option<(BTreeMap<String, AuditedHeader>, _)> = self.view.get_json(KEY).await?;
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let mut rows = stored.map(|(rows, _)| rows).unwrap_or_default();
            match hmac {
                Some(hmac) => drop(rows.insert(key.clone(), AuditedHeader { name: name.to_owned(), hmac })),
                None => drop(rows.remove(&key)),
            }
            let mut txn = Txn::new();
            txn.check(self.view.path(KEY), check);
            txn.put_json(self.view.path(KEY), &rows)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(self.sync().await?),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The table, if it is not the one that is known.
    pub(super) async fn stored_headers(&self) -> Result<Option<Headers>, StoreError> {
        if self.view.revision(KEY).await?.unwrap_or_default() == self.headers.load().revision {
            return Ok(None);
        }
        let (rows, revision) = self.view.get_json(KEY).await?.unwrap_or_default();
        Ok(Some(Headers { revision, rows }))
    }
}
