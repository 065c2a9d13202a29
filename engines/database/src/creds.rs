//! Users: `creds/`, and what their leases do with them.

use std::time::Duration;

use holdfast_failpoint::failpoint;
use holdfast_logical::{Data, Error, Issue, Request, Response, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    engine::Database,
    member::{Member, application_name},
    postgres::{Pool, User},
    username,
};

/// A user can log in a little longer than its lease lives, so that a slow clock does not lock it out early.
const GRACE: Duration = Duration::from_secs(30);

/// What the lease of a user carries. The statements are those of the role at creation, for when the role is gone.
#[derive(Serialize, Deserialize)]
struct Lease {
    db_name: String,
    role: String,
    username: String,
    revocation_statements: Vec<String>,
    renew_statements: Vec<String>,
}

impl Lease {
    fn read(internal: &Map<String, Value>) -> Result<Self, Error> {
        serde_json::from_value(Value::Object(internal.clone()))
            .map_err(|_| Error::Internal("the lease is not one of a database user".to_owned()))
    }
}

impl Database {
    pub async fn issue(&self, name: &str, request: &Request) -> Result<Response, Error> {
        let Some(role) = self.role(name).await? else { return Err(Error::Invalid(format!("unknown role: {name}"))) };
        let (config, pool) = self.pool(&role.db_name).await?;
        if !config.allows(name) {
            return Err(Error::Internal(format!("\"{name}\" is not an allowed role")));
        }
        if role.creation_statements.is_empty() {
            return Err(Error::Invalid(format!("the role {name:?} has no creation_statements")));
        }
        // Who begins it; the intent is stored afterwards.
        let member = self.member();
        member.check()?;
        let services = &self.services;
        let source = username::Source {
            display_name: &request.caller.display_name,
            role_name: name,
            clock: &*services.clock,
            entropy: &*services.entropy,
        };
        let username = username::make(&config.username_template, &source)?;
        let password = self.new_password(&config).await?;
        let mount = &request.mount;
        let ttl = role.default_ttl().unwrap_or(mount.default_ttl);
        let longest = role.max_ttl().map_or(mount.max_ttl, |max| max.min(mount.max_ttl));
        let expiration = after(services.clock.now(), ttl.min(longest));

        let lease = Lease {
            db_name: role.db_name.clone(),
            role: name.to_owned(),
            username: username.clone(),
            revocation_statements: role.revocation_statements.clone(),
            renew_statements: role.renew_statements.clone(),
        };
        let internal = match serde_json::to_value(&lease) {
            Ok(Value::Object(internal)) => internal,
            _ => return Err(Error::Internal("the lease cannot be encoded".to_owned())),
        };
        let data = Data::from(json!({"username": username, "password": password}));
        let (ttl, max_ttl) = (role.default_ttl(), role.max_ttl());
        let create = async move {
            let user = User { name: &username, password: &password, expiration: Some(expiration) };
            let session = pool.session(&member).await?;
            // A creation that fails is taken back by dropping the user, which must not be somebody else's. With 503 the
            // leases know that nothing was begun.
            if session.has_user(user.name).await? {
                let message = format!("the database has a user {:?} already; nothing was made, try again", user.name);
                return Err(Error::Status { code: 503, message });
            }
            failpoint!("database.create.before").await;
            let created = session.create(&user, &role.creation_statements).await;
            if created.is_err()
                && !role.rollback_statements.is_empty()
                && let Err(error) = session.roll_back(&user, &role.rollback_statements).await
            {
                tracing::warn!(user = user.name, %error, "rollback_statements failed");
            }
            created?;
            failpoint!("database.create.done").await;
            pool.give_back(session);
            Ok(())
        };
        Ok(Response {
            issue: Some(Issue { internal, data, ttl, max_ttl, renewable: true, create: Box::new(|| Box::pin(create)) }),
            ..Response::default()
        })
    }

    /// Moves the end of a user to `ttl` from now.
    pub async fn extend(&self, internal: &Map<String, Value>, ttl: Duration) -> Result<(), Error> {
        let lease = Lease::read(internal)?;
        let (_, pool) = self.pool(&lease.db_name).await?;
        let expiration = Some(after(self.services.clock.now(), ttl));
        let user = User { name: &lease.username, password: "", expiration };
        let session = pool.session(&self.member()).await?;
        session.renew(&user, &lease.renew_statements).await?;
        pool.give_back(session);
        Ok(())
    }

    /// Takes a user away; the role's statements as they are now win over those at creation.
    pub async fn drop_user(&self, internal: &Map<String, Value>) -> Result<(), Error> {
        let lease = Lease::read(internal)?;
        let role = self.role(&lease.role).await?;
        let revocation = role.map_or(lease.revocation_statements, |role| role.revocation_statements);
        let (_, pool) = self.pool(&lease.db_name).await?;
        revoke(&pool, &self.member(), &lease.username, &revocation).await
    }

    /// Ends the sessions of a member that is gone, where a user was being made. Whether none is left.
    pub async fn cut_off(&self, internal: &Map<String, Value>, id: &str) -> Result<bool, Error> {
        let lease = Lease::read(internal)?;
        let (_, pool) = self.pool(&lease.db_name).await?;
        let session = pool.session(&self.member()).await?;
        let all = session.end_sessions(&application_name(id)).await?;
        pool.give_back(session);
        Ok(all)
    }

    /// A password by the policy of the connection.
    pub async fn new_password(&self, config: &Config) -> Result<String, Error> {
        Ok(self.services.passwords.generate(&config.password_policy).await?.expose().to_owned())
    }
}

async fn revoke(pool: &Pool, member: &Member, username: &str, revocation: &[String]) -> Result<(), Error> {
    let user = User { name: username, password: "", expiration: None };
    let session = pool.session(member).await?;
    session.revoke(&user, revocation).await?;
    failpoint!("database.revoke.done").await;
    pool.give_back(session);
    Ok(())
}

fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    now.checked_add(ttl + GRACE).unwrap_or(Timestamp::MAX)
}
