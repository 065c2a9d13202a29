//! The mount `identity/`: from a row of the table to what answers it.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_logical::{
    Backend, Error,
    Operation::{Delete, Read},
    PathTable, Request, Response,
};

use crate::{Identity, paths};

/// The plug-in face of an [`Identity`].
pub(crate) struct Engine(pub(crate) Arc<Identity>);

impl Identity {
    /// What the core mounts.
    pub fn backend(self: &Arc<Self>) -> Arc<dyn Backend> {
        Arc::new(Engine(self.clone()))
    }
}

#[async_trait]
impl Backend for Engine {
    fn paths(&self) -> &'static PathTable {
        paths::ROWS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let route = request.route;
        match route.split('/').next().unwrap_or_default() {
            "entity" => self.entity(&request).await,
            "entity-alias" | "alias" | "persona" => self.alias(&request).await,
            "group" => self.group(&request).await,
            "group-alias" => self.group_alias(&request).await,
            "lookup" if route == "lookup/entity" => self.0.lookup_entity(&request.fields).await,
            "lookup" => self.0.lookup_group(&request.fields).await,
            _ => self.oidc(&request).await,
        }
    }

    async fn tick(&self) -> Result<(), Error> {
        self.0.tidy().await?;
        self.0.rotate_due_keys().await
    }
}

impl Engine {
    async fn entity(&self, request: &Request) -> Result<Response, Error> {
        let (store, fields) = (&self.0, &request.fields);
        let by_id = fields.string("id").unwrap_or_default();
        match (request.route, request.operation) {
            ("entity/id", _) => store.list_entities(false).await,
            ("entity/name", _) => store.list_entities(true).await,
            ("entity/merge", _) => store.merge(fields).await,
            ("entity/batch-delete", _) => {
                let ids = fields.list("entity_ids").unwrap_or_default();
                if ids.is_empty() {
                    return Err(Error::invalid("missing entity ids to delete"));
                }
                for id in &ids {
                    store.delete_entity(id).await?;
                }
                Ok(Response::empty())
            }
            ("entity/id/:id", Read) => store.read_entity(store.entity(by_id).await?).await,
            ("entity/id/:id", Delete) => done(store.delete_entity(by_id).await),
            ("entity/name/:name", Read) => {
                store.read_entity(store.entity_by_name(fields.required("name")?).await?).await
            }
            ("entity/name/:name", Delete) => match store.entity_by_name(fields.required("name")?).await? {
                Some((entity, _)) => done(store.delete_entity(&entity.id).await),
                None => Ok(Response::empty()),
            },
            _ => store.write_entity(fields).await,
        }
    }

    async fn alias(&self, request: &Request) -> Result<Response, Error> {
        let (store, fields) = (&self.0, &request.fields);
        match (request.route.split_once('/').map(|(_, rest)| rest), request.operation) {
            (Some("id"), _) => store.list_aliases().await,
            (Some(_), Read) => store.read_alias(fields.required("id")?).await,
            (Some(_), Delete) => done(store.delete_alias(fields.required("id")?).await),
            _ => store.write_alias(fields).await,
        }
    }

    async fn group(&self, request: &Request) -> Result<Response, Error> {
        let (store, fields) = (&self.0, &request.fields);
        match (request.route, request.operation) {
            ("group/id", _) => store.list_groups(false).await,
            ("group/name", _) => store.list_groups(true).await,
            ("group/id/:id", Read) => store.read_group(fields.string("id")).await,
            ("group/id/:id", Delete) => done(store.delete_group(fields.required("id")?).await),
            ("group/name/:name", Read | Delete) => {
                let groups = store.groups().await?;
                let id = groups.by_name(fields.required("name")?).map(|group| group.id.as_str());
                match (request.operation, id) {
                    (Read, id) => store.read_group(id).await,
                    (_, Some(id)) => done(store.delete_group(id).await),
                    (_, None) => Ok(Response::empty()),
                }
            }
            (route, _) => {
                store.known_entities(fields).await?;
                store.write_group(fields, route == "group/name/:name").await
            }
        }
    }

    async fn group_alias(&self, request: &Request) -> Result<Response, Error> {
        let (store, fields) = (&self.0, &request.fields);
        match (request.route, request.operation) {
            ("group-alias/id", _) => store.list_group_aliases().await,
            ("group-alias/id/:id", Read) => store.read_group_alias(fields.required("id")?).await,
            ("group-alias/id/:id", Delete) => done(store.delete_group_alias(fields.required("id")?).await),
            _ => store.write_group_alias(fields).await,
        }
    }

    async fn oidc(&self, request: &Request) -> Result<Response, Error> {
        let (store, fields) = (&self.0, &request.fields);
        let name = || fields.required("name");
        match (request.route, request.operation) {
            ("oidc/config", Read) => store.read_oidc_config().await,
            ("oidc/config", _) => store.write_oidc_config(fields).await,
            ("oidc/key", _) => store.list_oidc_keys().await,
            ("oidc/key/:name", Read) => store.read_oidc_key(name()?).await,
            ("oidc/key/:name", Delete) => store.delete_oidc_key(name()?).await,
            ("oidc/key/:name", _) => store.write_oidc_key(fields).await,
            ("oidc/key/:name/rotate", _) => store.rotate_oidc_key(fields).await,
            ("oidc/role", _) => store.list_oidc_roles().await,
            ("oidc/role/:name", Read) => store.read_oidc_role(name()?).await,
            ("oidc/role/:name", Delete) => store.delete_oidc_role(name()?).await,
            ("oidc/role/:name", _) => store.write_oidc_role(fields).await,
            ("oidc/token/:name", _) => store.oidc_token(name()?, &request.caller).await,
            ("oidc/introspect", _) => store.introspect(fields).await,
            ("oidc/.well-known/openid-configuration", _) => store.openid_configuration().await,
            ("oidc/.well-known/keys", _) => store.public_keys().await,
            _ => Err(Error::not_found()),
        }
    }
}

fn done(outcome: Result<(), Error>) -> Result<Response, Error> {
    outcome.map(|()| Response::empty())
}
