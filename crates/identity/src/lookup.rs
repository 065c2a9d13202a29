//! `lookup/entity` and `lookup/group`: by id, name, or alias. What is not there is 204.

use holdfast_logical::{Error, Fields, Response};

use crate::{Identity, keys};

const NOTHING: &str =
    "query parameter not supplied: one of id, name, alias_id, or alias_name with alias_mount_accessor";

impl Identity {
    pub(crate) async fn lookup_entity(&self, fields: &Fields) -> Result<Response, Error> {
        let text = |name: &str| fields.string(name).filter(|text| !text.is_empty());
        let found = if let Some(id) = text("id") {
            self.entity(id).await?
        } else if let Some(name) = text("name") {
            self.entity_by_name(name).await?
        } else if let Some(alias) = text("alias_id") {
            self.entity_by_alias(alias).await?
        } else {
            let (name, accessor) = by_alias(fields)?;
            match self.view().get_json::<keys::Factor>(&keys::factor(accessor, name)).await? {
                Some((factor, _)) => self.entity(&factor.entity).await?,
                None => None,
            }
        };
        match found {
            Some(found) => self.read_entity(Some(found)).await,
            None => Ok(Response::empty()),
        }
    }

    pub(crate) async fn lookup_group(&self, fields: &Fields) -> Result<Response, Error> {
        let text = |name: &str| fields.string(name).filter(|text| !text.is_empty());
        let groups = self.groups().await?;
        let found = if let Some(id) = text("id") {
            groups.get(id)
        } else if let Some(name) = text("name") {
            groups.by_name(name)
        } else if let Some(alias) = text("alias_id") {
            groups.of_alias(alias)
        } else {
            let (name, accessor) = by_alias(fields)?;
            groups.by_alias(accessor, name)
        };
        match found {
            Some(group) => Ok(Response::data(self.show_group(&groups, group).await?)),
            None => Ok(Response::empty()),
        }
    }
}

fn by_alias(fields: &Fields) -> Result<(&str, &str), Error> {
    let text = |name: &str| fields.string(name).filter(|text| !text.is_empty());
    match (text("alias_name"), text("alias_mount_accessor")) {
        (Some(name), Some(accessor)) => Ok((name, accessor)),
        (None, None) => Err(Error::invalid(NOTHING)),
        _ => Err(Error::invalid("both 'alias_name' and 'alias_mount_accessor' must be set")),
    }
}
