//! Login of machines: a role id says which role, a secret id proves it.
//!
//! Secret ids are stored by their keyed hash only, below a number that the role got when it was made: what is left of a
//! deleted role never belongs to a new one of the same name. A limited number of uses is exact: each use is a
//! transaction that compares the record it counts down.
//!
//! ```text
//! salt                              key of the hashes, made at first use
//! role/<name>                       [`role::Role`]
//! role-id/<hash of the role id>     name of the role
//! secret/<number>/<hash>            [`secret_id::SecretId`]
//! accessor/<number>/<accessor>      hash of the secret id
//! ```

mod engine;
mod login;
mod metadata;
mod paths;
mod role;
mod role_api;
mod salt;
mod secret_api;
mod secret_id;
mod tidy;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount.
pub fn factory(mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::AppRole::new(mount, services)))
}
