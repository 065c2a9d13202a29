//! What the core tells of auth mounts.

use async_trait::async_trait;
use holdfast_logical::StoreError;

/// An auth mount of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthMount {
    /// `<type>_<8 hex>`.
    pub accessor: String,
    /// `auth/kubernetes/`.
    pub path: String,
    /// Type name.
    pub kind: String,
}

/// Implemented by the core.
#[async_trait]
pub trait AuthMounts: Send + Sync + 'static {
    /// The mount of an accessor, as of the last request.
    fn find(&self, accessor: &str) -> Option<AuthMount>;

    /// All of them, as they are in the store now.
    async fn all(&self) -> Result<Vec<AuthMount>, StoreError>;
}
