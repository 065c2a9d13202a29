//! Deleting, undeleting and destroying versions.

use holdfast_logical::{Error, Fields, Response, Txn};

use super::{Answered, Versioned, meta::Version};

impl Versioned {
    pub(super) async fn delete_newest(&self, path: &str) -> Result<Answered, Error> {
        let now = self.clock.now();
        let changed = self
            .change(path, |meta, _, _| {
                let newest = meta.current_version;
                match meta.versions.get_mut(&newest) {
                    Some(version) if version.live(now) => {
                        version.deletion_time = Some(now);
                        Ok(Some(()))
                    }
                    _ => Ok(None),
                }
            })
            .await?;
        Ok((Response::empty(), changed.history))
    }

    pub(super) async fn delete_versions(&self, path: &str, fields: &Fields) -> Result<Answered, Error> {
        let now = self.clock.now();
        self.change_each(path, fields, |_, version, _| {
            let live = version.live(now);
            if live {
                version.deletion_time = Some(now);
            }
            live
        })
        .await
    }

    pub(super) async fn undelete_versions(&self, path: &str, fields: &Fields) -> Result<Answered, Error> {
        self.change_each(path, fields, |_, version, _| !version.destroyed && version.deletion_time.take().is_some())
            .await
    }

    pub(super) async fn destroy_versions(&self, path: &str, fields: &Fields) -> Result<Answered, Error> {
        self.change_each(path, fields, |number, version, txn| {
            let there = !std::mem::replace(&mut version.destroyed, true);
            if there {
                txn.delete(self.value_path(path, number));
            }
            there
        })
        .await
    }

    /// Changes the versions that the request names, of those that there are; `change` tells whether it did.
    async fn change_each(
        &self,
        path: &str,
        fields: &Fields,
        mut change: impl FnMut(u64, &mut Version, &mut Txn) -> bool,
    ) -> Result<Answered, Error> {
        let numbers = numbers(fields)?;
        let changed = self
            .change(path, |meta, _, txn| {
                let mut changed = None;
                for number in &numbers {
                    if let Some(version) = meta.versions.get_mut(number)
                        && change(*number, version, txn)
                    {
                        changed = Some(());
                    }
                }
                Ok(changed)
            })
            .await?;
        Ok((Response::empty(), changed.history))
    }
}

fn numbers(fields: &Fields) -> Result<Vec<u64>, Error> {
    let texts = fields.list("versions").unwrap_or_default();
    if texts.is_empty() {
        return Err(Error::invalid("No version number provided"));
    }
    let parse = |text: &String| {
        text.parse().map_err(|_| Error::Invalid(format!("field \"versions\": {text:?} is not a version number")))
    };
    texts.iter().map(parse).collect()
}
