//! The database secret engine: users that are made when they are asked for and dropped when their lease ends.
//!
//! Names of users are never used twice and every statement of ours can be repeated, so a revocation that is done twice,
//! or by another replica, harms nobody.

mod config;
mod creds;
mod engine;
mod member;
mod postgres;
mod role;
mod rotate;
mod statements;
mod username;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount.
pub fn factory(_mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::Database::new(services)))
}
