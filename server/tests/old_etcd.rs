//! An etcd with faults that break what we promise is refused; who allows it gets a server that does without what they break.

use crate::{
    crash,
    fixture::{Server, etcd::Etcd, folder, free_port},
};

#[tokio::test]
async fn an_old_etcd_is_refused_with_the_reason() {
    let (folder, etcd) = (folder(), Etcd::start_old().await);
    let file = folder.path().join("config.hcl");
    let listener = "listener \"tcp\" {\n address = \"127.0.0.1:0\"\n tls_disable = true\n}\n";
    std::fs::write(&file, format!("{listener}{}", etcd.stanza(etcd.folder(), "client"))).unwrap();
    let mut server = Server::spawn(folder.path(), free_port(), &[&format!("-config={}", file.display())]);
    assert!(!server.wait().success());
    let told = server.errors();
    for part in ["is too old", "3.5.33", "stale reads", "allow_old_etcd"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn an_old_etcd_that_is_allowed_keeps_what_was_acknowledged() {
    let (folder, etcd) = (folder(), Etcd::start_old().await);
    let stanza = etcd.stanza(etcd.folder(), "client").replace("prefix =", "allow_old_etcd = true\n prefix =");
    crash::acknowledged_writes_survive(folder.path(), &stanza).await;
    let log = std::fs::read_to_string(folder.path().join("err")).unwrap();
    assert!(log.contains("nothing is read from memory"), "{log}");
}
