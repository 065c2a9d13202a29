//! Making one entity of several: aliases, policies and groups go to the one that stays.

use holdfast_logical::{Check, Error, Fields, Response, Txn};

use crate::{
    Alias, Entity, Identity,
    fault::{Fault, invalid, retried},
    keys,
};

struct Wanted {
    from: Vec<String>,
    to: String,
    keep: Vec<String>,
}

impl Identity {
    /// Merges entities into one, each in one transaction. Tokens of the merged ones act as the one that stays.
    pub(crate) async fn merge(&self, fields: &Fields) -> Result<Response, Error> {
        let wanted = Wanted {
            from: fields.list("from_entity_ids").unwrap_or_default(),
            to: fields.string("to_entity_id").unwrap_or_default().to_owned(),
            keep: fields.list("conflicting_alias_ids_to_keep").unwrap_or_default(),
        };
        if wanted.to.is_empty() {
            return Err(Error::invalid("missing entity id to merge to"));
        }
        if wanted.from.is_empty() {
            return Err(Error::invalid("missing entity ids to merge from"));
        }
        if wanted.from.contains(&wanted.to) {
            return Err(Error::invalid("to_entity_id should not be present in from_entity_ids"));
        }
        // All are looked at before one is touched.
        self.entity(&wanted.to).await?.ok_or_else(|| Error::invalid("entity id to merge to is invalid"))?;
        for from in &wanted.from {
            self.entity(from).await?.ok_or_else(|| Error::invalid("entity id to merge from is invalid"))?;
        }
        for from in &wanted.from {
            retried(|| self.merge_one(from, &wanted)).await?;
        }
        Ok(Response::empty())
    }

    async fn merge_one(&self, from: &str, wanted: &Wanted) -> Result<(), Fault> {
        let (mut to, revision) =
            self.entity(&wanted.to).await?.ok_or_else(|| invalid("entity id to merge to is invalid"))?;
        // Gone: named twice, or merged by somebody else a moment ago.
        let Some((from, from_revision)) = self.entity(from).await? else { return Ok(()) };
        let now = self.now();
        let mut txn = self.without_entity(&from, from_revision, Some(&to.id)).await?;
        for alias in &from.aliases {
            let mut alias = alias.clone();
            match to.alias_at(&alias.accessor).cloned() {
                Some(own) if wanted.keep.contains(&own.id) => continue,
                Some(own) if wanted.keep.contains(&alias.id) => self.replace_alias(&mut txn, &mut to, &own),
                Some(own) => return Err(conflict(&own, &alias)),
                None => {}
            }
            alias.merged_from.push(from.id.clone());
            alias.updated = now;
            self.move_alias(&mut txn, &to, &alias)?;
            if let Some(groups) = from.external.get(&alias.accessor) {
                self.join(&mut txn, &to.id, &alias.accessor, groups)?;
                to.external.insert(alias.accessor.clone(), groups.clone());
            }
            to.aliases.push(alias);
        }
        to.policies.extend(from.policies.iter().cloned());
        to.policies.sort();
        to.policies.dedup();
        to.merged.extend(from.merged.iter().cloned().chain([from.id.clone()]));
        for id in from.merged.iter().chain([&from.id]) {
            self.put(&mut txn, &keys::merged(id), &to.id)?;
        }
        to.updated = now;
        txn.check(self.view().path(&keys::entity(&to.id)), Check::At(revision));
        self.put_entity(&mut txn, &to)?;
        self.commit(txn).await
    }

    /// Takes the alias of the entity that stays away, for that of the other.
    fn replace_alias(&self, txn: &mut Txn, to: &mut Entity, own: &Alias) {
        to.aliases.retain(|alias| alias.id != own.id);
        self.drop_alias(txn, own);
        if let Some(groups) = to.external.remove(&own.accessor) {
            self.leave(txn, &to.id, &own.accessor, &groups);
        }
    }

    /// Points the keys of an alias to another entity; their removal was planned already.
    fn move_alias(&self, txn: &mut Txn, to: &Entity, alias: &Alias) -> Result<(), Fault> {
        let factor = keys::factor(&alias.accessor, &alias.name);
        let paths = [self.view().path(&keys::alias(&alias.id)), self.view().path(&factor)];
        txn.writes.retain(|(path, _)| !paths.contains(path));
        self.put(txn, &keys::alias(&alias.id), &to.id)?;
        self.put(txn, &factor, &keys::Factor { alias: alias.id.clone(), entity: to.id.clone() })
    }
}

fn conflict(own: &Alias, other: &Alias) -> Fault {
    invalid(format!(
        "toEntity and at least one fromEntity have aliases with the same mount accessor {:?}: repeat the merge and name \
         the one that stays in conflicting_alias_ids_to_keep ({:?} or {:?})",
        own.accessor, own.id, other.id
    ))
}
