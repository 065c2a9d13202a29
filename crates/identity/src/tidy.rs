//! Periodic work: what mounts and groups that are gone have left behind.

use std::collections::BTreeSet;

use holdfast_logical::{Error, StoreError};

use crate::{Identity, keys};

impl Identity {
    /// Removes the aliases of auth mounts that are gone, and the member lists of groups that are gone. What is listed is
    /// older than what it is compared with, so what was made meanwhile is safe.
    pub(crate) async fn tidy(&self) -> Result<(), Error> {
        self.tidy_aliases().await?;
        self.tidy_group_aliases().await?;
        let groups = self.view().list("member/", "", 0).await?;
        let known = self.groups().await?;
        for group in groups.iter().map(|name| name.trim_end_matches('/')).filter(|id| known.get(id).is_none()) {
            self.forget_members(group).await?;
        }
        Ok(())
    }

    async fn tidy_aliases(&self) -> Result<(), Error> {
        let accessors = self.view().list("factor/", "", 0).await?;
        for accessor in self.gone(&accessors).await? {
            let folder = format!("factor/{accessor}/");
            for name in self.view().list(&folder, "", 0).await? {
                if let Some((factor, _)) = self.view().get_json::<keys::Factor>(&format!("{folder}{name}")).await? {
                    self.delete_alias(&factor.alias).await?;
                }
            }
        }
        Ok(())
    }

    async fn tidy_group_aliases(&self) -> Result<(), Error> {
        let accessors = self.view().list("group-factor/", "", 0).await?;
        let gone: BTreeSet<String> = self.gone(&accessors).await?.into_iter().collect();
        if gone.is_empty() {
            return Ok(());
        }
        for group in self.groups().await?.iter() {
            if let Some(alias) = group.alias.as_ref().filter(|alias| gone.contains(&alias.accessor)) {
                self.delete_group_alias(&alias.id).await?;
            }
        }
        Ok(())
    }

    /// Those of these accessors that no mount has any more; they are never given again.
    async fn gone(&self, listed: &[String]) -> Result<Vec<String>, StoreError> {
        let known = self.parts.mounts.all().await?;
        let names = listed.iter().map(|name| name.trim_end_matches('/'));
        Ok(names.filter(|name| !known.iter().any(|mount| mount.accessor == *name)).map(str::to_owned).collect())
    }
}
