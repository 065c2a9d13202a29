//! Which mount a path of `kv` belongs to, and whether that mount keeps versions.

use serde_json::Value;

use crate::{
    api::ApiError,
    failure::{During, Failure},
    session::Session,
};

/// A secret of a kv mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPath {
    /// Mount with a slash at its end.
    pub mount: String,
    /// Path below it.
    pub rest: String,
    /// Does the mount keep versions?
    pub versioned: bool,
}

impl KvPath {
    /// Asks the server which mount holds the path. With `-mount` the path is below that mount.
    pub async fn find(session: &Session, mount: Option<&str>, path: &str) -> Result<Self, Failure> {
        let whole = match mount {
            Some(mount) => format!("{}/{}", mount.trim_matches('/'), path.trim_start_matches('/')),
            None => path.trim_start_matches('/').to_owned(),
        };
        // With -mount the mount itself is asked for: the path may not be allowed by itself.
        let asked = mount.map_or(whole.as_str(), |mount| mount.trim_matches('/'));
        let info =
            match session.api().really().data(&format!("sys/internal/ui/mounts/{}", asked.trim_end_matches('/'))).await
            {
                // A server without this endpoint has kv without versions only.
                Err(ApiError::Status { status: 404, .. }) => {
                    return Ok(Self::split(&whole, mount.unwrap_or_default(), false));
                }
                other => other.during(format_args!("looking up the mount of {whole}"))?,
            };
        let found = info.get("path").and_then(Value::as_str).unwrap_or_default();
        let version = info.get("options").and_then(|options| options.get("version")).map(crate::format::plain);
        Ok(Self::split(&whole, found, version.as_deref() == Some("2")))
    }

    fn split(whole: &str, mount: &str, versioned: bool) -> Self {
        let mount = format!("{}/", mount.trim_matches('/'));
        let rest = match whole.strip_prefix(&mount) {
            Some(rest) => rest,
            None if whole == mount.trim_end_matches('/') => "",
            None => whole,
        };
        let rest = rest.trim_matches('/').to_owned();
        if mount == "/" { Self { mount: String::new(), rest, versioned } } else { Self { mount, rest, versioned } }
    }

    /// The path of an API of kv v2: `data`, `metadata`, `delete` …; for kv v1 simply the path.
    pub fn api(&self, part: &str) -> String {
        if self.versioned {
            format!("{}{part}/{}", self.mount, self.rest)
        } else {
            format!("{}{}", self.mount, self.rest)
        }
    }

    /// For commands that need versions.
    pub fn need_versions(&self, what: &str) -> Result<(), Failure> {
        if self.versioned {
            return Ok(());
        }
        Err(Failure::local(format!("{what} not supported on KV Version 1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path() {
        let path = KvPath::split("secret/a/b", "secret/", true);
        assert_eq!(path.api("data"), "secret/data/a/b");
        assert_eq!(KvPath::split("secret", "secret/", true).api("metadata"), "secret/metadata/");
        assert_eq!(KvPath::split("k8s/shop/kv/a", "k8s/shop/kv/", true).api("data"), "k8s/shop/kv/data/a");
        assert_eq!(KvPath::split("secret/a", "secret/", false).api("data"), "secret/a");
        assert_eq!(KvPath::split("secret/a", "", false).api("data"), "secret/a");
        assert!(KvPath::split("secret/a", "secret/", false).need_versions("Undelete").is_err());
    }
}
