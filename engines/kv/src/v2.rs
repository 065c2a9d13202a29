//! Version 2: values with a history, soft deletion and check-and-set.
//!
//! ```text
//! config                   mount-wide settings
//! meta/<path>              everything but the values: [`meta::Meta`]
//! value/<path>/<version>   the text of one version
//! ```
//! Every change of a secret is one commit that checks the revision of its metadata.

mod config;
mod data;
mod events;
mod meta;
mod metadata;
mod subkeys;
mod upgrade;
mod versions;

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use holdfast_logical::{
    Auth, Backend, Check, Clock, Error, Field, Kind, Operation, PathTable, Request, Response, Revision, Row, Services,
    StoreError, Txn, View,
};

use self::meta::{History, Meta};
use crate::{secret_path, walk};

/// A kv version 2 mount.
pub(crate) struct Versioned {
    view: View,
    clock: Arc<dyn Clock>,
    /// Is nothing left of version 1?
    settled: AtomicBool,
}

/// What became of a change.
struct Changed<T> {
    /// None: nothing was to be done.
    outcome: Option<T>,
    /// Of the secret as it is now, if there is one.
    history: Option<History>,
}

/// The answer to a change of a secret, and its history as it is now, if it is there.
type Answered = (Response, Option<History>);

/// Tries of a change that meets other writers of the same secret.
const TRIES: u32 = 16;

const AFTER: Field = Field::new("after", Kind::String, "For lists: only names that sort after this one.");
const LIMIT: Field = Field::new("limit", Kind::Int, "For lists: at most so many names; 0 or less is all.");
const VERSIONS: &[Field] = &[Field::new("versions", Kind::StringList, "Numbers of the versions.")];

static PATHS: &PathTable = &[
    Row {
        id: "config",
        pattern: "config",
        operations: &[Operation::Read, Operation::Update],
        fields: &[
            Field::new("max_versions", Kind::Int, "Versions that are kept of each secret; 0 means 10."),
            Field::new("cas_required", Kind::Bool, "Must every write carry `options.cas`?"),
            Field::new(
                "delete_version_after",
                Kind::SignedDuration,
                "Age at which versions are deleted; 0s means never; below zero also what secrets say does not count.",
            ),
            Field::new("metadata_cas_required", Kind::Bool, "Must every write of metadata carry `metadata_cas`?"),
        ],
        auth: Auth::Token,
        help: "Settings for all secrets of the mount.",
    },
    Row {
        id: "data",
        pattern: "data/*path",
        operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Patch, Operation::Delete],
        fields: &[
            Field::new("version", Kind::Int, "Version to read; 0 or none is the newest."),
            Field::sensitive("data", Kind::Any, "The secret: any JSON object."),
            Field::new("options", Kind::Object, "`cas`: version that must be the current one; 0: none may exist."),
        ],
        auth: Auth::Token,
        help: "A secret. PATCH merges into the newest version; DELETE deletes it and can be undone.",
    },
    Row {
        id: "delete",
        pattern: "delete/*path",
        operations: &[Operation::Update],
        fields: VERSIONS,
        auth: Auth::Token,
        help: "Deletes versions; can be undone.",
    },
    Row {
        id: "undelete",
        pattern: "undelete/*path",
        operations: &[Operation::Update],
        fields: VERSIONS,
        auth: Auth::Token,
        help: "Brings deleted versions back.",
    },
    Row {
        id: "destroy",
        pattern: "destroy/*path",
        operations: &[Operation::Update],
        fields: VERSIONS,
        auth: Auth::Token,
        help: "Removes the values of versions for ever.",
    },
    Row {
        id: "subkeys",
        pattern: "subkeys/*path",
        operations: &[Operation::Read],
        fields: &[
            Field::new("version", Kind::Int, "Version to read; 0 or none is the newest."),
            Field::new("depth", Kind::Int, "Levels that are shown; 0 is all."),
        ],
        auth: Auth::Token,
        help: "The keys of a secret without their values.",
    },
    Row {
        id: "metadata",
        pattern: "metadata/*path",
        operations: &[
            Operation::Read,
            Operation::Create,
            Operation::Update,
            Operation::Patch,
            Operation::Delete,
            Operation::List,
            Operation::Scan,
        ],
        fields: &[
            AFTER,
            LIMIT,
            Field::new(
                "metadata_cas",
                Kind::Int,
                "Version of the metadata that must be the current one; 0: none may exist.",
            ),
            Field::new("metadata_cas_required", Kind::Bool, "Must every write of metadata carry `metadata_cas`?"),
            Field::new("max_versions", Kind::Int, "Versions that are kept; 0 leaves it to the mount."),
            Field::new("cas_required", Kind::Bool, "Must every write carry `options.cas`?"),
            Field::new("delete_version_after", Kind::Duration, "Age at which versions are deleted; 0s: the mount's."),
            Field::new("custom_metadata", Kind::Object, "Texts by name, for people and tools."),
        ],
        auth: Auth::Token,
        help: "What is known of a secret beside its values. DELETE removes it with all versions; LIST names secrets, SCAN those of all folders below.",
    },
    Row {
        id: "detailed-metadata",
        pattern: "detailed-metadata/*path",
        operations: &[Operation::List, Operation::Scan],
        fields: &[AFTER, LIMIT],
        auth: Auth::Token,
        help: "LIST and SCAN of `metadata/`, with what is known of each secret.",
    },
    Row {
        id: ELSEWHERE,
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
        help: "Nothing: secrets are below `data/`, what is known of them below `metadata/`.",
    },
];

/// Where people look who take the mount for one of version 1.
const ELSEWHERE: &str = "elsewhere";

impl Versioned {
    pub fn new(services: Services) -> Self {
        Self { view: services.view, clock: services.clock, settled: AtomicBool::new(false) }
    }

    /// The metadata of a secret.
    async fn meta(&self, path: &str) -> Result<Option<(Arc<Meta>, Revision)>, Error> {
        let key = format!("meta/{path}");
        if let Some(found) = self.view.shared_json(&key).await? {
            return Ok(Some(found));
        }
        if self.is_settled().await? {
            return Ok(None);
        }
        self.take_over(path).await?;
        Ok(self.view.shared_json(&key).await?)
    }

    /// Is there a secret?
    async fn is_there(&self, path: &str) -> Result<bool, Error> {
        let found = self.view.revision(&format!("meta/{path}")).await?.is_some();
        Ok(found || (!self.is_settled().await? && self.meta(path).await?.is_some()))
    }

    /// Changes a secret: `change` sees its metadata (a fresh one if there is none) and adds what else is to be written.
    /// Runs again when somebody else was faster; `None` from `change` means that nothing is to be done.
    async fn change<T>(
        &self,
        path: &str,
        mut change: impl FnMut(&mut Meta, bool, &mut Txn) -> Result<Option<T>, Error>,
    ) -> Result<Changed<T>, Error> {
        for _ in 0..TRIES {
            let now = self.clock.now();
            let stored = self.meta(path).await?;
            let (mut meta, check, exists) = match stored {
                Some((meta, revision)) => (Arc::unwrap_or_clone(meta), Check::At(revision), true),
                None => (Meta::new(now), Check::Absent, false),
            };
            let mut txn = Txn::new();
            let Some(outcome) = change(&mut meta, exists, &mut txn)? else {
                return Ok(Changed { outcome: None, history: exists.then(|| meta.history()) });
            };
            let full = self.view.path(&format!("meta/{path}"));
            txn.check(full.clone(), check);
            txn.put_json(full, &meta)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(Changed { outcome: Some(outcome), history: Some(meta.history()) }),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Changes a secret, and tells of it.
    async fn write(&self, mut request: Request, path: &str) -> Result<Response, Error> {
        let (path, fields) = (secret_path(path)?, &mut request.fields);
        let (response, history) = match (request.route, request.operation) {
            ("data", Operation::Patch) => self.patch_data(path, fields).await?,
            ("data", Operation::Delete) => self.delete_newest(path).await?,
            ("data", _) => self.write_data(path, fields).await?,
            ("metadata", Operation::Patch) => self.patch_metadata(path, fields).await?,
            ("metadata", Operation::Delete) => (self.delete_metadata(path).await?, None),
            ("metadata", _) => self.write_metadata(path, fields).await?,
            ("delete", _) => self.delete_versions(path, fields).await?,
            ("undelete", _) => self.undelete_versions(path, fields).await?,
            ("destroy", _) => self.destroy_versions(path, fields).await?,
            _ => return Err(Error::UnsupportedOperation),
        };
        // A patch of what is not there answers 404, and changed nothing.
        if response.status.is_some() {
            return Ok(response);
        }
        Ok(match events::of_secret((request.route, request.operation), path, &request.fields, history) {
            Some(event) => response.tell(event),
            None => response,
        })
    }

    fn value_path(&self, path: &str, version: u64) -> String {
        self.view.path(&format!("value/{path}/{version}"))
    }
}

/// A 404 that says in a warning how it is done.
fn elsewhere(operation: Operation) -> Response {
    let command = match operation {
        Operation::Create | Operation::Update => "put",
        Operation::Delete => "delete",
        Operation::List | Operation::Scan => "list",
        _ => "get",
    };
    let warning = format!(
        "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. \
         On the command line, use 'kv {command}'."
    );
    Response { status: Some(404), warnings: vec![warning], ..Response::default() }
}

#[async_trait]
impl Backend for Versioned {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, mut request: Request) -> Result<Response, Error> {
        let path = request.fields.string("path").unwrap_or_default().to_owned();
        let (path, fields) = (path.as_str(), &mut request.fields);
        match (request.route, request.operation) {
            (ELSEWHERE, operation) => Ok(elsewhere(operation)),
            ("config", Operation::Read) => self.read_config().await,
            ("config", _) => Ok(self.write_config(fields).await?.tell(events::of_config())),
            ("metadata", operation @ (Operation::List | Operation::Scan)) => {
                walk::answer(self.names(operation, path, fields).await?, None)
            }
            ("detailed-metadata", operation) => {
                let names = self.names(operation, path, fields).await?;
                let info = self.details(path, &names).await?;
                walk::answer(names, Some(info))
            }
            (_, Operation::Read) if secret_path(path).is_err() => Err(Error::not_found()),
            ("data", Operation::Read) => self.read_data(path, fields).await,
            ("subkeys", Operation::Read) => self.read_subkeys(path, fields).await,
            ("metadata", Operation::Read) => self.read_metadata(path).await,
            _ => self.write(request, path).await,
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        let path = request.fields.string("path").unwrap_or_default();
        match request.route {
            "data" | "metadata" if secret_path(path).is_ok() => Ok(Some(self.is_there(path).await?)),
            _ => Ok(None),
        }
    }

    async fn tick(&self) -> Result<(), Error> {
        self.take_over_all().await
    }
}
