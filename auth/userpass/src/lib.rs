//! Login with a user name and a password.
//!
//! Passwords are stored as bcrypt hashes. A login with a name that nobody has takes as long as one with a wrong
//! password, and both are answered alike, so that nobody learns which names there are.
//!
//! ```text
//! user/<name in lower case>   [`user::User`]
//! ```

mod engine;
mod login;
mod password;
mod user;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount.
pub fn factory(_mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::UserPass::new(services)))
}
