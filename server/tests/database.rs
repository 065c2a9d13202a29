//! A database credential, from a real PostgreSQL, through HTTP.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{
    SOON, Server, data, folder,
    postgres::{ADMIN, Postgres},
};

#[tokio::test]
async fn a_credential_works_is_renewed_survives_a_restart_and_is_revoked() {
    let (folder, postgres) = (folder(), Postgres::start().await);
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", folder.path().join("data").display().to_string());
    let server = Server::start(folder.path(), &storage).await;
    let (client, made) = server.initialize(1, 1).await;
    client.write("sys/mounts/database", json!({"type": "database"})).await.unwrap();
    let url =
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", postgres.port);
    client
        .write(
            "database/config/main",
            json!({"plugin_name": "postgresql-database-plugin", "connection_url": url, "allowed_roles": ["ro"],
                   "username": ADMIN.0, "password": ADMIN.1}),
        )
        .await
        .unwrap();
    let statement = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT pg_read_all_data TO \"{{name}}\"";
    client
        .write(
            "database/roles/ro",
            json!({"db_name": "main", "creation_statements": [statement], "default_ttl": "1h", "max_ttl": "24h"}),
        )
        .await
        .unwrap();

    let made_credential = client.read("database/creds/ro").await.unwrap().unwrap();
    let credential = made_credential.data.unwrap();
    let (user, password) = (credential["username"].as_str().unwrap(), credential["password"].as_str().unwrap());
    assert_eq!((made_credential.lease_duration, made_credential.renewable), (3600, true));
    let connection = postgres.connect(user, password).await.unwrap();
    let row = connection.query_one("select current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), user);
    drop(connection);

    let renewed = client.renew_lease(&made_credential.lease_id, Some(Duration::from_secs(7200))).await.unwrap();
    assert!((7190..=7200).contains(&renewed.lease_duration), "{}", renewed.lease_duration);
    assert!(server.stop().success());

    let server = Server::start(folder.path(), &storage).await;
    crate::fixture::unseal(&server.client(), &made.keys_base64).await;
    let client = server.client().with_token(client.token().unwrap().duplicate());
    let found =
        client.write("sys/leases/lookup", json!({"lease_id": made_credential.lease_id})).await.unwrap().unwrap();
    assert!(found.data.unwrap()["ttl"].as_u64().unwrap() > 7000);
    client.revoke_lease(&made_credential.lease_id).await.unwrap();
    let deadline = Instant::now() + SOON;
    while postgres.has_user(user).await {
        assert!(Instant::now() < deadline, "the user is still there:\n{}", server.errors());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(data(&client, "database/roles/ro").await["db_name"] == "main");
}
