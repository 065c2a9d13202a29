use std::time::Duration;

use holdfast_logical::{Operation, Txn};
use serde_json::{Value, json};

use crate::mount::Mount;

/// Names below a folder of the store, with all folders in it.
async fn count(mount: &Mount, folder: &str) -> usize {
    let mut count = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in mount.view.list(&folder, "", 0).await.unwrap() {
            match name.ends_with('/') {
                true => folders.push(format!("{folder}{name}")),
                false => count += 1,
            }
        }
    }
    count
}

#[tokio::test]
async fn a_deleted_role_takes_its_secret_ids_along() {
    let mount = Mount::with_role(json!({})).await;
    let secret_id = mount.secret_id(json!({})).await;
    for _ in 0..40 {
        mount.secret_id(json!({})).await;
    }
    mount.ask(Operation::Delete, "role/app", Value::Null).await.unwrap();
    for folder in ["secret/", "accessor/", "role-id/"] {
        assert_eq!(count(&mount, folder).await, 0, "{folder}");
    }
    mount.write("role/app", json!({"role_id": "r"})).await;
    mount.no_login("r", &secret_id).await;
}

#[tokio::test]
async fn tidy_removes_what_is_of_no_use_and_nothing_else() {
    let mount = Mount::with_role(json!({})).await;
    let kept = mount.secret_id(json!({})).await;
    mount.secret_id(json!({"ttl": "10m"})).await;
    // A role that was deleted by a server that died before it was done: its secret ids belong to nobody.
    mount.write("role/gone", json!({})).await;
    let orphan = mount.made("role/gone/secret-id", json!({})).await["secret_id"].as_str().unwrap().to_owned();
    let gone = mount.get("role/gone/role-id").await["role_id"].as_str().unwrap().to_owned();
    let mut txn = Txn::new();
    txn.delete(mount.view.path("role/gone"));
    mount.view.commit(txn).await.unwrap();
    mount.no_login(&gone, &orphan).await;
    assert_eq!((count(&mount, "secret/").await, count(&mount, "accessor/").await), (3, 3));

    mount.clock.advance(Duration::from_secs(601));
    let response = mount.write("tidy/secret-id", json!({})).await;
    assert_eq!((response.status, response.warnings.len()), (Some(202), 1));
    for _ in 0..1000 {
        if (count(&mount, "secret/").await, count(&mount, "accessor/").await) == (1, 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((count(&mount, "secret/").await, count(&mount, "accessor/").await), (1, 1));
    mount.login(&kept).await.unwrap();
}

#[tokio::test]
async fn the_mount_tidies_itself_once_an_hour() {
    let mount = Mount::with_role(json!({})).await;
    mount.secret_id(json!({"ttl": "10m"})).await;
    mount.clock.advance(Duration::from_secs(3599));
    mount.backend.tick().await.unwrap();
    assert_eq!(count(&mount, "secret/").await, 1);
    mount.clock.advance(Duration::from_secs(1));
    mount.backend.tick().await.unwrap();
    assert_eq!(count(&mount, "secret/").await, 0);
}
