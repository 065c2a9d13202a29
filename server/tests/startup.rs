//! What is said when a server cannot start.

use std::net::TcpListener;

use crate::fixture::{Server, folder, free_port};

fn start(configuration: &str) -> (Option<i32>, String) {
    let folder = folder();
    let file = folder.path().join("config.hcl");
    std::fs::write(&file, configuration).unwrap();
    let mut server = Server::spawn(folder.path(), 0, &[&format!("-config={}", file.display())]);
    (server.wait().code(), server.errors())
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_key() {
    let listener = format!("listener \"tcp\" {{\n address = \"127.0.0.1:{}\"\n tls_disable = true\n}}\n", free_port());
    for (configuration, expected) in [
        (format!("storage \"mysql\" {{}}\n{listener}"), "config.hcl: storage \"mysql\": \"mysql\" is not supported"),
        (listener.clone(), "the configuration has no storage stanza"),
        ("storage \"inmem\" {}\n".to_owned(), "the configuration has no listener stanza"),
        ("storage \"inmem\" {}\nlistener \"tcp\" {}\n".to_owned(), "config.hcl: listener \"tcp\" tls_cert_file: missing"),
        ("storage \"inmem\" {\n".to_owned(), "config.hcl: line 2"),
        (
            "storage \"inmem\" {}\nlistener \"tcp\" {\n tls_cert_file = \"/none.crt\"\n tls_key_file = \"/none.key\"\n}\n"
                .to_owned(),
            "listener \"tcp\" 127.0.0.1:8200: /none.crt: No such file",
        ),
        (
            format!(
                "storage \"inmem\" {{}}\n{listener}seal \"static\" {{\n current_key_id = \"k\"\n current_key = \"file:///no/key\"\n}}\n"
            ),
            "/no/key: No such file",
        ),
    ] {
        let (code, errors) = start(&configuration);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(expected), "expected {expected:?} in:\n{errors}");
        assert!(errors.matches("No such file").count() < 2, "said twice:\n{errors}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, errors) = start(&format!(
        "storage \"inmem\" {{}}\nlistener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}\n"
    ));
    assert_eq!(code, Some(1));
    assert!(errors.contains(&format!("listener \"tcp\" {address}: Address already in use")), "{errors}");
}

#[test]
fn an_unknown_option_and_a_missing_file_are_named() {
    let folder = folder();
    let mut server = Server::spawn(folder.path(), 0, &["-confg=x"]);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.errors().contains("unknown option \"-confg=x\""), "{}", server.errors());
    let mut server = Server::spawn(folder.path(), 0, &["-config=/none/at/all.hcl"]);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.errors().contains("/none/at/all.hcl: No such file"), "{}", server.errors());
}
