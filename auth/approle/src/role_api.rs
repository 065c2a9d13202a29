//! `role/`: whole roles and single fields of them.

use std::time::Duration;

use holdfast_base::duration;
use holdfast_logical::{Error, Fields, Response};
use serde_json::{Map, Value, json};

use crate::{
    engine::AppRole,
    paths::SETTINGS,
    role::{Role, no_role},
};

impl AppRole {
    pub async fn list_roles(&self) -> Result<Response, Error> {
        Response::keys(self.services.view.list("role/", "", 0).await?)
    }

    pub async fn read_role(&self, name: &str) -> Result<Response, Error> {
        let (role, _) = self.role(name).await?.ok_or_else(Error::not_found)?;
        let mut data = shown(&role);
        data.remove("bound_cidr_list");
        Ok(Response::data(Value::Object(data)))
    }

    pub async fn write_role(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let max = self.mount.read().max_ttl;
        let role = self
            .change_role(name, true, |role, created| {
                role.set(fields, created)?;
                let period = Duration::from_secs(role.token.period);
                if period > max {
                    return Err(Error::Invalid(format!(
                        "period of {:?} is greater than the backend's maximum lease TTL of {:?}",
                        duration::format(period),
                        duration::format(max)
                    )));
                }
                Ok(())
            })
            .await?;
        let response = Response::empty();
        Ok(if Duration::from_secs(role.token.max_ttl) > max {
            response.warn(
                "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value \
                 will be truncated",
            )
        } else {
            response
        })
    }

    pub async fn delete_role(&self, name: &str) -> Result<Response, Error> {
        self.remove_role(name).await?;
        Ok(Response::empty())
    }

    pub async fn read_role_id(&self, name: &str) -> Result<Response, Error> {
        let (role, _) = self.role(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({ "role_id": role.role_id })))
    }

    pub async fn write_role_id(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let role_id = fields.required("role_id")?;
        self.change_role(name, false, |role, _| {
            role_id.clone_into(&mut role.role_id);
            Ok(())
        })
        .await?;
        Ok(Response::empty())
    }

    /// `role/:name/<setting>`, read.
    pub async fn read_setting(&self, name: &str, route: &str) -> Result<Response, Error> {
        let (role, _) = self.role(name).await?.ok_or_else(Error::not_found)?;
        let data = shown(&role);
        let pick = names(route).iter().filter_map(|name| Some(((*name).to_owned(), data.get(*name)?.clone())));
        Ok(Response::data(Value::Object(pick.collect())))
    }

    /// `role/:name/<setting>`, written.
    pub async fn write_setting(&self, name: &str, route: &str, fields: &Fields) -> Result<Response, Error> {
        let names = names(route);
        if !names.iter().any(|name| fields.has(name)) {
            return Err(if self.role(name).await?.is_none() {
                no_role(name)
            } else {
                Error::Invalid(format!("missing {}", names.first().copied().unwrap_or_default()))
            });
        }
        self.change_role(name, false, |role, _| role.set(fields, false)).await?;
        Ok(Response::empty())
    }

    /// `role/:name/<setting>`, deleted: as if it was never written.
    pub async fn reset_setting(&self, name: &str, route: &str) -> Result<Response, Error> {
        let first = names(route).first().copied().unwrap_or_default();
        let first = if first == "bound_cidr_list" { "secret_id_bound_cidrs" } else { first };
        self.change_role(name, false, |role, _| {
            role.reset(first);
            Ok(())
        })
        .await?;
        Ok(Response::empty())
    }
}

/// Fields of a setting, the new name first.
fn names(route: &str) -> &'static [&'static str] {
    SETTINGS.iter().find(|(id, _)| *id == route).map_or(&[], |(_, names)| names)
}

fn shown(role: &Role) -> Map<String, Value> {
    let cidrs = match role.secret_id_bound_cidrs.as_slice() {
        [] => Value::Null,
        cidrs => json!(cidrs),
    };
    let mut data = Map::from_iter([
        ("bind_secret_id".to_owned(), role.bind_secret_id.into()),
        ("bound_cidr_list".to_owned(), cidrs.clone()),
        ("secret_id_bound_cidrs".to_owned(), cidrs),
        ("secret_id_num_uses".to_owned(), role.secret_id_num_uses.into()),
        ("secret_id_ttl".to_owned(), role.secret_id_ttl.into()),
        ("local_secret_ids".to_owned(), role.local_secret_ids.into()),
    ]);
    role.token.show(&mut data);
    data
}
