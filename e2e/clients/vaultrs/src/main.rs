//! What people do with vaultrs, against a new server over TLS.
//!
//! `CLIENT_ADDR` says where it is, `CLIENT_CA` names the PEM file of the authority that signed its certificate. Prints a
//! line for each call that was answered; the first surprise ends the program.

use std::collections::HashMap;

use serde_json::{Value, json};
use vaultrs::{
    api::{self, kv2::requests::SetSecretRequestOptions, token::requests::CreateTokenRequest},
    auth::{approle, userpass},
    client::{Client, VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
    kv1, kv2, sys, token,
};

use rustify::errors::ClientError::ServerResponseError as Server;

type Failure = Box<dyn std::error::Error>;

thread_local!(static CALLS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

/// Waits for a call and prints it.
macro_rules! ask {
    ($call:expr) => {{
        let outcome = $call.await;
        let number = CALLS.replace(CALLS.get() + 1) + 1;
        let name = stringify!($call).split('(').next().unwrap_or_default().to_owned();
        match &outcome {
            Ok(_) => println!("ok {number} {name}"),
            Err(ClientError::APIError { code, .. }) => println!("ok {number} {name}: refused with {code}"),
            Err(ClientError::RestClientError { source: Server { code, .. } }) => println!("ok {number} {name}: {code}"),
            Err(error) => panic!("{number} {name}: {error:?}"),
        }
        outcome
    }};
}

/// The call must be refused with this status and a text that contains this.
macro_rules! refused {
    ($call:expr, $status:expr, $text:expr) => {
        match ask!($call) {
            Err(ClientError::APIError { code, errors }) => {
                assert_eq!(code, $status, "{errors:?}");
                assert!(errors.join(" ").contains($text), "{errors:?}");
            }
            _ => panic!("{} was not refused", stringify!($call)),
        }
    };
}

fn connect(token: &str) -> Result<VaultClient, Failure> {
    let settings = VaultClientSettingsBuilder::default()
        .address(std::env::var("CLIENT_ADDR")?)
        .ca_certs(vec![std::env::var("CLIENT_CA")?])
        .verify(true)
        .token(token)
        .build()?;
    Ok(VaultClient::new(settings)?)
}

async fn start() -> Result<(VaultClient, Vec<String>), Failure> {
    let mut client = connect("")?;
    assert!(matches!(ask!(sys::status(&client))?, sys::ServerStatus::UNINITIALIZED));
    let made = ask!(sys::start_initialization(&client, 3, 2, None))?;
    assert_eq!(made.keys.len(), 3);
    assert!(matches!(ask!(sys::status(&client))?, sys::ServerStatus::SEALED));
    assert_eq!(ask!(sys::unseal(&client, Some(made.keys[0].clone()), None, None))?.progress, 1);
    assert_eq!(ask!(sys::unseal(&client, None, Some(true), None))?.progress, 0);
    ask!(sys::unseal(&client, Some(made.keys[1].clone()), None, None))?;
    assert!(!ask!(sys::unseal(&client, Some(made.keys[2].clone()), None, None))?.sealed);
    client.set_token(&made.root_token);
    assert!(matches!(ask!(sys::status(&client))?, sys::ServerStatus::OK));
    let health = ask!(sys::health(&client))?;
    assert!(health.initialized && !health.sealed && !health.standby);
    Ok((client, made.keys))
}

async fn mounts(root: &VaultClient) -> Result<(), Failure> {
    ask!(sys::mount::enable(root, "there", "kv", None))?;
    refused!(sys::mount::enable(root, "there", "kv", None), 400, "path is already in use");
    assert_eq!(ask!(sys::mount::list(root))?["there/"].mount_type, "kv");
    let shown = ask!(sys::mount::get_configuration_of_a_secret_engine(root, "there"))?;
    assert!(shown.accessor.starts_with("kv_"));
    let moved = ask!(sys::remount::remount(root, "there", "elsewhere"))?;
    let status = ask!(sys::remount::remount_status(root, &moved.migration_id))?;
    assert_eq!(
        (status.migration_info.status.as_str(), status.migration_info.target_mount.as_str()),
        ("success", "elsewhere/")
    );
    ask!(kv1::set(root, "elsewhere", "a/b", &HashMap::from([("n", "1")])))?;
    assert_eq!(ask!(kv1::get::<HashMap<String, String>>(root, "elsewhere", "a/b"))?["n"], "1");
    assert_eq!(ask!(kv1::list(root, "elsewhere", "a"))?.data.keys, ["b"]);
    ask!(kv1::delete(root, "elsewhere", "a/b"))?;
    refused!(kv1::get::<Value>(root, "elsewhere", "a/b"), 404, "");
    ask!(sys::mount::disable(root, "elsewhere"))?;
    Ok(())
}

async fn versions(root: &VaultClient) -> Result<(), Failure> {
    let mut options = api::sys::requests::EnableEngineRequest::builder();
    options.options(HashMap::from([("version".to_owned(), "2".to_owned())]));
    ask!(sys::mount::enable(root, "secret", "kv", Some(&mut options)))?;
    ask!(kv2::config::set(root, "secret", None)).ok();
    assert!(!ask!(kv2::config::read(root, "secret"))?.cas_required);
    assert_eq!(ask!(kv2::set(root, "secret", "app", &json!({"password": "one"})))?.version, 1);
    let at = |cas| SetSecretRequestOptions { cas };
    assert_eq!(ask!(kv2::set_with_options(root, "secret", "app", &json!({"password": "two"}), at(1)))?.version, 2);
    refused!(
        kv2::set_with_options(root, "secret", "app", &json!({}), at(1)),
        400,
        "check-and-set parameter did not match the current version"
    );
    assert_eq!(ask!(kv2::read::<Value>(root, "secret", "app"))?["password"], "two");
    assert_eq!(ask!(kv2::read_version::<Value>(root, "secret", "app", 1))?["password"], "one");
    let mut metadata = api::kv2::requests::SetSecretMetadataRequest::builder();
    metadata.max_versions(7u64);
    ask!(kv2::set_metadata(root, "secret", "app", Some(&mut metadata)))?;
    let shown = ask!(kv2::read_metadata(root, "secret", "app"))?;
    assert_eq!((shown.current_version, shown.max_versions, shown.versions.len()), (2, 7, 2));
    assert_eq!(ask!(kv2::list(root, "secret", ""))?, ["app"]);
    ask!(kv2::delete_latest(root, "secret", "app"))?;
    // A deleted version is a 404 whose body is no list of errors but the version's metadata.
    assert!(matches!(
        ask!(kv2::read::<Value>(root, "secret", "app")),
        Err(ClientError::RestClientError { source: Server { code: 404, .. } })
    ));
    ask!(kv2::undelete_versions(root, "secret", "app", vec![2]))?;
    assert_eq!(ask!(kv2::read::<Value>(root, "secret", "app"))?["password"], "two");
    ask!(kv2::delete_versions(root, "secret", "app", vec![1]))?;
    ask!(kv2::destroy_versions(root, "secret", "app", vec![1]))?;
    assert!(ask!(kv2::read_metadata(root, "secret", "app"))?.versions["1"].destroyed);
    ask!(kv2::delete_metadata(root, "secret", "app"))?;
    refused!(kv2::read_metadata(root, "secret", "app"), 404, "");
    Ok(())
}

async fn policies(root: &VaultClient) -> Result<(), Failure> {
    let rules = r#"path "secret/data/mine" { capabilities = ["read"] }"#;
    ask!(sys::policy::set(root, "reader", rules))?;
    assert_eq!(ask!(sys::policy::read(root, "reader"))?.rules, rules);
    assert!(ask!(sys::policy::list(root))?.policies.contains(&"reader".to_owned()));
    refused!(sys::policy::set(root, "bad", "path \"x\" {"), 400, "failed to parse policy");
    ask!(kv2::set(root, "secret", "mine", &json!({"v": 1})))?;
    let mut wanted = CreateTokenRequest::builder();
    wanted.policies(vec!["reader".to_owned()]).ttl("1h");
    let made = ask!(token::new(root, Some(&mut wanted)))?;
    let reader = connect(&made.client_token)?;
    assert_eq!(ask!(kv2::read::<Value>(&reader, "secret", "mine"))?["v"], 1);
    refused!(kv2::set(&reader, "secret", "mine", &json!({})), 403, "permission denied");
    refused!(sys::mount::list(&reader), 403, "permission denied");
    ask!(sys::policy::delete(root, "reader"))?;
    refused!(kv2::read::<Value>(&reader, "secret", "mine"), 403, "permission denied");
    Ok(())
}

async fn tokens(root: &VaultClient) -> Result<(), Failure> {
    let mut wanted = CreateTokenRequest::builder();
    wanted.policies(vec!["default".to_owned()]).ttl("30m").display_name("me");
    let made = ask!(token::new(root, Some(&mut wanted)))?;
    assert_eq!(made.lease_duration, 1800);
    let own = connect(&made.client_token)?;
    assert_eq!(ask!(token::lookup_self(&own))?.display_name, "token-me");
    assert_eq!(ask!(token::renew_self(&own, Some("20m")))?.lease_duration, 1200);
    assert_eq!(ask!(token::lookup(root, &made.client_token))?.accessor, made.accessor);
    assert_eq!(ask!(token::lookup_accessor(root, &made.accessor))?.id, "");
    assert_eq!(ask!(token::renew(root, &made.client_token, Some("10m")))?.lease_duration, 600);
    ask!(token::renew_accessor(root, &made.accessor, None))?;
    ask!(token::revoke_accessor(root, &made.accessor))?;
    refused!(token::lookup_self(&own), 403, "permission denied");
    let orphan = ask!(token::new_orphan(root, None))?;
    assert!(orphan.orphan);
    ask!(token::revoke_orphan(root, &orphan.client_token))?;
    let mut role = api::token::requests::SetTokenRoleRequest::builder();
    role.allowed_policies(vec!["default".to_owned()]).orphan(true);
    ask!(token::role::set(root, "job", Some(&mut role)))?;
    assert!(ask!(token::role::read(root, "job"))?.orphan);
    assert_eq!(ask!(token::role::list(root))?.keys, ["job"]);
    let job = ask!(token::new_role(root, "job", None))?;
    ask!(token::revoke(root, &job.client_token))?;
    ask!(token::role::delete(root, "job"))?;
    let short = ask!(token::new(root, None))?;
    ask!(token::revoke_self(&connect(&short.client_token)?))?;
    Ok(())
}

async fn wrapping(root: &VaultClient) -> Result<(), Failure> {
    let endpoint = api::kv2::requests::ReadSecretRequest::builder().mount("secret").path("mine").build()?;
    let wrapped = ask!(api::wrap(root, endpoint))?;
    assert_eq!(wrapped.info.ttl, 600);
    assert_eq!(ask!(sys::wrapping::lookup(root, &wrapped.info.token))?.creation_path, "secret/data/mine");
    assert_eq!(ask!(sys::wrapping::unwrap::<Value>(root, Some(&wrapped.info.token)))?["data"]["v"], 1);
    refused!(
        sys::wrapping::unwrap::<Value>(root, Some(&wrapped.info.token)),
        400,
        "wrapping token is not valid or does not exist"
    );
    Ok(())
}

async fn logins(root: &VaultClient) -> Result<(), Failure> {
    ask!(sys::auth::enable(root, "approle", "approle", None))?;
    assert_eq!(ask!(sys::auth::list(root))?["approle/"].mount_type, "approle");
    let mut role = api::auth::approle::requests::SetAppRoleRequest::builder();
    role.token_policies(vec!["default".to_owned()]).token_ttl("10m");
    ask!(approle::role::set(root, "approle", "app", Some(&mut role)))?;
    assert_eq!(ask!(approle::role::read(root, "approle", "app"))?.token_ttl, 600);
    assert_eq!(ask!(approle::role::list(root, "approle"))?.keys, ["app"]);
    ask!(approle::role::update_id(root, "approle", "app", "the-app"))?;
    let id = ask!(approle::role::read_id(root, "approle", "app"))?.role_id;
    let secret = ask!(approle::role::secret::generate(root, "approle", "app", None))?;
    assert_eq!(ask!(approle::role::secret::list(root, "approle", "app"))?.keys.len(), 1);
    ask!(approle::role::secret::read(root, "approle", "app", &secret.secret_id))?;
    ask!(approle::role::secret::read_accessor(root, "approle", "app", &secret.secret_id_accessor))?;
    assert_eq!(ask!(approle::login(root, "approle", &id, &secret.secret_id))?.lease_duration, 600);
    ask!(approle::role::secret::delete(root, "approle", "app", &secret.secret_id))?;
    refused!(approle::login(root, "approle", &id, &secret.secret_id), 400, "invalid");
    ask!(approle::role::delete(root, "approle", "app"))?;
    ask!(sys::auth::disable(root, "approle"))?;

    ask!(sys::auth::enable(root, "people", "userpass", None))?;
    ask!(userpass::user::set(root, "people", "mia", "long enough", None))?;
    assert_eq!(ask!(userpass::user::list(root, "people"))?.keys, ["mia"]);
    assert_eq!(
        ask!(userpass::login(root, "people", "mia", "long enough"))?.metadata.unwrap_or_default()["username"],
        "mia"
    );
    ask!(userpass::user::update_password(root, "people", "mia", "another one"))?;
    refused!(userpass::login(root, "people", "mia", "long enough"), 400, "invalid username or password");
    ask!(userpass::user::delete(root, "people", "mia"))?;
    Ok(())
}

async fn sealing(root: &VaultClient, keys: &[String]) -> Result<(), Failure> {
    assert!(!ask!(sys::tools::random(root, None))?.random_bytes.is_empty());
    ask!(sys::seal(root))?;
    refused!(sys::mount::list(root), 503, "Vault is sealed");
    for key in &keys[..2] {
        ask!(sys::unseal(root, Some(key.clone()), None, None))?;
    }
    assert_eq!(ask!(token::lookup_self(root))?.policies, ["root"]);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (root, keys) = start().await?;
    mounts(&root).await?;
    versions(&root).await?;
    policies(&root).await?;
    tokens(&root).await?;
    wrapping(&root).await?;
    logins(&root).await?;
    sealing(&root, &keys).await?;
    println!("{} calls", CALLS.get());
    Ok(())
}
