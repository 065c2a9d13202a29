//! The kv secret engine: version 1 (plain) and version 2 (with history), chosen by the mount's option `version`.
//!
//! Values are stored as the text that was written and answered without being parsed, so numbers stay exact.

mod engine;
mod merge;
mod v1;
mod v2;
mod walk;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount: `version` is `1` (also when absent) or `2`.
pub fn factory(mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::Kv::new(mount, services)?))
}

/// Refuses paths that no secret can have; where a secret is read, that is the same as its absence.
fn secret_path(path: &str) -> Result<&str, Error> {
    if path.is_empty() {
        return Err(Error::invalid("missing path: name a secret"));
    }
    if path.split('/').any(str::is_empty) {
        return Err(Error::invalid("the path of a secret must not begin or end with / nor contain //"));
    }
    Ok(path)
}
