//! SecretEngine: a mount at `k8s/<namespace>/<name>`, its configuration, its roles.
//!
//! Every reconciliation reads what the server has and writes only what differs, so it is also the repair of drift. The
//! root credentials are sent when they or the connection have changed, which a keyed hash in the status tells.

mod hosts;
mod plan;

use holdfast_crd_types::{DatabaseEngine, DeletionPolicy, SecretEngine, SecretEngineStatus, names};
use holdfast_secret::SecretBytes;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::plan::Rotation;
use crate::{
    context::Context,
    failure::{Failure, While},
    ledger::Entry,
    object::{Managed, Settled, Work},
    server::Server,
};

impl Managed for SecretEngine {
    type Status = SecretEngineStatus;
    const KIND: &'static str = "SecretEngine";

    fn status(&self) -> SecretEngineStatus {
        self.status.clone().unwrap_or_default()
    }

    fn conditions(status: &SecretEngineStatus) -> &[Condition] {
        &status.conditions
    }

    fn observe(status: &mut SecretEngineStatus, conditions: Vec<Condition>, generation: Option<i64>) {
        status.conditions = conditions;
        status.observed_generation = generation;
    }

    async fn apply(work: &mut Work<'_, Self>) -> Result<Settled, Failure> {
        let (namespace, name) = (work.namespace(), work.object.name_any());
        let engine = work.object.spec.engine();
        let engine = engine.ok_or_else(|| Failure::edit("Invalid", "exactly one engine block is needed"))?;
        // An object of the same name may have gone while the server was away: its mount goes before this one comes.
        let same = |entry: &Entry| matches!(entry, Entry::Engine { namespace: n, name: m, .. } if (n, m) == (&namespace, &name));
        let mount = names::mount_path(&namespace, &name);
        if let Err(failure) = work.ctx.ledger.settle(work.ctx, same).await {
            take_over(work, &mount, engine, failure).await?;
            work.ctx.ledger.forget(same).await.doing("writing the ledger")?;
        }
        mount_engine(work, &mount, engine).await?;
        if let Some(database) = work.object.spec.database.clone() {
            connect(work, &mount, &database).await?;
            sync_roles(work, &mount, &database).await?;
        }
        let message = match &work.object.spec.database {
            Some(database) => format!("database at {mount}, {} role(s)", database.roles.len()),
            None => format!("kv at {mount}"),
        };
        Ok(Settled { reason: "Mounted", message, again: None })
    }

    async fn cleanup(ctx: &Context, object: &Self) -> Result<(), Failure> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        tear_down(&ctx.server, &namespace, &name, object.spec.deletion_policy).await
    }

    fn pending(_: &Context, object: &Self) -> Option<Entry> {
        let mode = object.spec.deletion_policy;
        (mode != DeletionPolicy::Orphan).then(|| Entry::Engine {
            uid: object.uid().unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            mode,
        })
    }
}

/// Takes a mount back as its deletion policy says. Fails while a lease cannot be revoked: the mount knows how to.
pub async fn tear_down(server: &Server, namespace: &str, name: &str, mode: DeletionPolicy) -> Result<(), Failure> {
    if mode == DeletionPolicy::Orphan {
        return Ok(());
    }
    let mount = names::mount_path(namespace, name);
    if read_mount(server, &mount).await?.is_none() {
        return Ok(());
    }
    let body = json!({ "sync": true });
    server
        .write(&format!("sys/leases/revoke-prefix/{mount}"), &body)
        .await
        .doing("revoking the leases of the engine")?;
    if mode == DeletionPolicy::Revoke {
        server.delete(&format!("sys/mounts/{mount}")).await.doing("removing the mount")?;
    }
    Ok(())
}

/// What a former object left cannot be revoked, because its database is gone, say: the mount goes on with its leases, and
/// the server revokes them by what this object configures. Only where the mount is of the same type.
async fn take_over(work: &Work<'_, SecretEngine>, mount: &str, engine: &str, failure: Failure) -> Result<(), Failure> {
    match read_mount(&work.ctx.server, mount).await? {
        Some(found) if found["type"] == engine => {
            work.event("TookOver", format!("{mount} is taken over with leases of a former object: {failure}")).await;
            Ok(())
        }
        _ => Err(failure),
    }
}

async fn read_mount(server: &Server, mount: &str) -> Result<Option<Value>, Failure> {
    match server.read(&format!("sys/mounts/{mount}")).await {
        // Vault answers 400 "No secret engine mount at …" where others say 404.
        Err(error) if error.status() == Some(400) => Ok(None),
        other => other.doing("reading the mount"),
    }
}

async fn mount_engine(work: &mut Work<'_, SecretEngine>, mount: &str, engine: &'static str) -> Result<(), Failure> {
    let wanted = plan::mount(&work.object.spec, engine)?;
    let server = &work.ctx.server;
    let known = work.status.path.is_some();
    let Some(found) = read_mount(server, mount).await? else {
        server.write(&format!("sys/mounts/{mount}"), &wanted).await.doing("mounting the engine")?;
        work.status.path = Some(mount.to_owned());
        work.status.engine = Some(engine.to_owned());
        // What was written to the former mount is gone with it.
        (work.status.input_hash, work.status.rotated_root) = (None, None);
        work.status.roles.clear();
        work.save().await?;
        if known {
            work.repaired(format!("{mount} was not mounted any more; mounted again, empty")).await;
        } else {
            work.event("Mounted", format!("{engine} at {mount}")).await;
        }
        return Ok(());
    };
    if found["type"] != engine {
        let message =
            format!("{mount} is there already and is a {} engine; unmount it, or use another name", found["type"]);
        return Err(Failure::elsewhere("MountConflict", message));
    }
    if let Some(tune) = plan::tune(&wanted, &found) {
        server.write(&format!("sys/mounts/{mount}/tune"), &tune).await.doing("tuning the mount")?;
        let new = work.status.observed_generation != work.object.metadata.generation;
        if new {
            work.event("Tuned", format!("{mount} has its new settings")).await;
        } else {
            work.repaired(format!("the settings of {mount} were changed on the server; put back")).await;
        }
    }
    work.status.path = Some(mount.to_owned());
    work.status.engine = Some(engine.to_owned());
    Ok(())
}

/// What the Secret with the root credentials holds.
struct Root {
    username: String,
    password: SecretBytes,
    ca: Option<String>,
}

async fn read_root(work: &Work<'_, SecretEngine>, database: &DatabaseEngine) -> Result<Root, Failure> {
    let name = &database.postgresql.root_credentials_ref.name;
    let api: Api<Secret> = Api::namespaced(work.ctx.kube.clone(), &work.namespace());
    let secret = api.get_opt(name).await.doing("reading the root credentials")?.ok_or_else(|| {
        let message =
            format!("Secret {name} of rootCredentialsRef is not there; make it with the keys username and password");
        Failure::elsewhere("RootCredentialsMissing", message)
    })?;
    let data = secret.data.unwrap_or_default();
    let field = |key: &str| {
        data.get(key).map(|value| value.0.clone()).filter(|value| !value.is_empty()).ok_or_else(|| {
            Failure::elsewhere(
                "RootCredentialsMissing",
                format!("Secret {name} has no key {key:?}; it needs username and password"),
            )
        })
    };
    let text = |key: &str, value: Vec<u8>| {
        String::from_utf8(value)
            .map_err(|_| Failure::elsewhere("RootCredentialsMissing", format!("Secret {name}: {key:?} is not text")))
    };
    let ca = match &database.postgresql.tls_ca_key {
        Some(key) => Some(text(key, field(key)?)?),
        None => None,
    };
    Ok(Root { username: text("username", field("username")?)?, password: SecretBytes::new(field("password")?), ca })
}

async fn connect(work: &mut Work<'_, SecretEngine>, mount: &str, database: &DatabaseEngine) -> Result<(), Failure> {
    let url = &database.postgresql.connection_url;
    hosts::allowed(&work.ctx.settings.database_hosts, &work.namespace(), url)
        .map_err(|reason| Failure::edit("DatabaseNotAllowed", reason))?;
    let root = read_root(work, database).await?;
    let connection = serde_json::to_vec(&database.postgresql).unwrap_or_default();
    let ca = root.ca.as_deref().unwrap_or_default().as_bytes();
    let credentials = work.ctx.hash_key.hash(&[b"root", root.username.as_bytes(), root.password.expose()]);
    let input = work.ctx.hash_key.hash(&[b"connection", &connection, ca, credentials.as_bytes()]);

    let path = format!("{mount}/config/{}", names::DATABASE_CONFIG);
    let found = work.ctx.server.read(&path).await.doing("reading the connection")?;
    let rotation = Rotation::of(work.status.rotated_root.as_deref(), &credentials);
    let unchanged = work.status.input_hash.as_deref() == Some(&input);
    let in_place =
        found.as_ref().is_some_and(|found| plan::connection_stands(&database.postgresql, &root.username, found));
    if !(unchanged && in_place) {
        // After a rotation the server alone knows the password; it keeps it when none is sent.
        let password = match (rotation, found.is_some()) {
            (Rotation::Pending | Rotation::Done, true) => None,
            _ => Some(std::str::from_utf8(root.password.expose()).map_err(|_| {
                Failure::elsewhere("RootCredentialsMissing", "the password of the root credentials is not text")
            })?),
        };
        if rotation == Rotation::Done && found.is_none() {
            let message = "the server has lost the connection whose root password only it knew; set a new password in the \
                           database and in the Secret of rootCredentialsRef";
            return Err(Failure::elsewhere("RootPasswordLost", message));
        }
        let body = plan::connection(&database.postgresql, &root.username, password, root.ca.as_deref());
        let sent = work.ctx.server.write(&path, &body).await;
        sent.map_err(|error| plan::refused(&database.postgresql, &error))?;
        work.status.input_hash = Some(input);
        work.save().await?;
        if unchanged {
            work.repaired(format!("the connection of {mount} was changed on the server; put back")).await;
        } else {
            work.event("Configured", "the database accepts the root credentials".to_owned()).await;
        }
    }
    if database.postgresql.rotate_root && rotation != Rotation::Done {
        rotate_root(work, mount, &credentials).await?;
    }
    Ok(())
}

/// The intent is stored first: after a crash in between, the password of the Secret is never sent again, because the
/// server may have changed it already; the rotation is just repeated.
async fn rotate_root(work: &mut Work<'_, SecretEngine>, mount: &str, credentials: &str) -> Result<(), Failure> {
    work.status.rotated_root = Some(Rotation::pending(credentials));
    work.save().await?;
    let path = format!("{mount}/rotate-root/{}", names::DATABASE_CONFIG);
    work.ctx.server.write(&path, &json!({})).await.doing("rotating the root password")?;
    work.status.rotated_root = Some(credentials.to_owned());
    work.save().await?;
    work.event("RootRotated", "the root user has a new password that only the server knows".to_owned()).await;
    Ok(())
}

async fn sync_roles(work: &mut Work<'_, SecretEngine>, mount: &str, database: &DatabaseEngine) -> Result<(), Failure> {
    let new = work.status.observed_generation != work.object.metadata.generation;
    for role in &database.roles {
        let wanted = plan::role(role)?;
        let path = format!("{mount}/roles/{}", role.name);
        let found = work.ctx.server.read(&path).await.doing("reading a role")?;
        if found.as_ref().is_some_and(|found| plan::stands(&wanted, found)) {
            continue;
        }
        work.ctx.server.write(&path, &wanted).await.map_err(|error| {
            let failure = Failure::server(&format!("writing role {}", role.name), &error);
            if error.status() == Some(400) { Failure { reason: "RoleRefused", ..failure } } else { failure }
        })?;
        if !new && work.status.roles.contains(&role.name) {
            work.repaired(format!("role {} was changed on the server; put back", role.name)).await;
        }
    }
    let wanted: Vec<String> = database.roles.iter().map(|role| role.name.clone()).collect();
    for gone in work.status.roles.iter().filter(|name| !wanted.contains(name)) {
        work.ctx.server.delete(&format!("{mount}/roles/{gone}")).await.doing("deleting a role")?;
        work.event("RoleDeleted", format!("role {gone}; its users live until their leases end")).await;
    }
    work.status.roles = wanted;
    Ok(())
}
