//! What a configuration says, in both languages, and what is said about a wrong one.

use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Config, Error> {
    let mut config = Config::default();
    config.add(Path::new("holdfast.hcl"), &holdfast_hcl::parse(text).unwrap())?;
    Ok(config)
}

#[test]
fn a_vault_configuration_is_understood() {
    let config = read(
        r#"
        storage "etcd" {
          address = "https://a:2379,https://b:2379"
          tls_ca_file = "/ca"
          tls_cert_file = "/crt"
          tls_key_file = "/key"
          path = "vault/"
        }
        listener "tcp" {
          address = "127.0.0.1:8210"
          tls_cert_file = "/tls/crt"
          tls_key_file = "/tls/key"
          max_request_size = 1000
          x_forwarded_for_authorized_addrs = ["10.0.0.0/8"]
          telemetry { unauthenticated_metrics_access = true }
        }
        listener "tcp" {
          address = ":8211"
          tls_disable = 1
        }
        seal "static" {
          current_key_id = "k1"
          current_key = "file:///seal/key"
        }
        default_lease_ttl = "1h"
        max_lease_ttl = 86400
        disable_mlock = true
        max_requests_in_flight = 100
        max_renewals_in_flight = 0
        log_level = "debug"
        api_addr = "https://here:8200"
        "#,
    )
    .unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let Some(StorageConfig::Etcd(etcd)) = &config.storage else { panic!("{:?}", config.storage) };
    assert_eq!(etcd.endpoints, ["https://a:2379", "https://b:2379"]);
    assert_eq!((etcd.prefix.as_str(), etcd.ca_file.as_deref()), ("vault/", Some(Path::new("/ca"))));
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.listeners[0].limits.body, 1000);
    assert!(config.listeners[0].unauthenticated_metrics && config.listeners[0].tls.is_some());
    assert!(config.listeners[1].tls.is_none());
    assert_eq!(config.listeners[1].name(), "listener \"tcp\" 0.0.0.0:8211");
    let SealConfig::Static { current, .. } = &config.seal else { panic!("{:?}", config.seal) };
    assert!(matches!(&current.source, KeySource::File(path) if path == Path::new("/seal/key")));
    assert_eq!((config.default_lease_ttl.as_secs(), config.max_lease_ttl.as_secs()), (3600, 86400));
    assert_eq!((config.limits.all, config.limits.renewals, config.limits.logins), (100, 0, 512));
    assert_eq!((config.log_level.as_deref(), config.api_addr.as_deref()), (Some("debug"), Some("https://here:8200")));
}

#[test]
fn json_as_hvac_and_the_chart_write_it() {
    let config = read(
        r#"{"backend": {"inmem": {}},
            "listener": {"tcp": {"tls_cert_file": "c", "tls_key_file": "k", "address": "127.0.0.1:1"}},
            "disable_mlock": true, "default_lease_ttl": "768h", "max_lease_ttl": "768h",
            "initialize": {"holdfast": {"request": [
                {"z": {"operation": "update", "path": "sys/auth/kubernetes", "data": {"type": "kubernetes"}}},
                {"a": {"operation": "update", "path": "/sys/audit/file", "data": {"options": {"file_path": "x"}}}}]}}}"#,
    )
    .unwrap();
    assert_eq!(config.warnings, ["storage \"inmem\" is the memory of this process: all is gone when it ends"]);
    assert!(matches!(config.storage, Some(StorageConfig::Inmem)));
    let names: Vec<&str> = config.initialize.iter().map(|request| request.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    assert_eq!(config.initialize[1].path, "sys/audit/file");
    assert_eq!(config.initialize[1].data["options"]["file_path"], "x");
}

#[test]
fn initialize_stanzas_in_hcl() {
    let config = read(
        r#"initialize "first" {
             request "mount" {
               operation = "update"
               path = "sys/mounts/secret"
               data = { type = "kv", options = { version = "2" } }
             }
             request "role" {
               operation = "update"
               path = "x"
               data { options { a = 1 } }
             }
           }"#,
    )
    .unwrap();
    assert_eq!(config.initialize[0].data["options"]["version"], "2");
    assert_eq!(config.initialize[1].data["options"]["a"], 1);
}

#[test]
fn what_is_unknown_is_a_warning_that_names_it() {
    let config = read("lisener_typo = 1\nstorage \"inmem\" { pth = \"x\" }").unwrap();
    assert_eq!(
        config.warnings,
        [
            "storage \"inmem\" is the memory of this process: all is gone when it ends",
            "holdfast.hcl: storage \"inmem\": unknown key \"pth\" in line 2 is ignored",
            "holdfast.hcl: unknown key \"lisener_typo\" in line 1 is ignored",
        ]
    );
}

#[test]
fn what_is_wrong_is_an_error_that_names_file_and_key() {
    for (text, expected) in [
        ("storage \"file\" {}", "holdfast.hcl: storage \"file\" path: missing"),
        (
            "storage \"etcd\" { endpoints = [\"a:1\"] }",
            "holdfast.hcl: storage \"etcd\" endpoints: \"a:1\" does not begin",
        ),
        (
            "storage \"mysql\" {}",
            "holdfast.hcl: storage \"mysql\": \"mysql\" is not supported; use etcd, file or inmem",
        ),
        ("listener \"tcp\" {}", "holdfast.hcl: listener \"tcp\" tls_cert_file: missing"),
        ("listener \"tcp\" { tls_disable = \"maybe\" }", "holdfast.hcl: listener \"tcp\" tls_disable: true or false"),
        ("default_lease_ttl = \"soon\"", "holdfast.hcl: default_lease_ttl: a duration is needed"),
        ("default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"", "holdfast.hcl: default_lease_ttl: it is more than"),
        ("seal \"static\" { current_key = \"x\" }", "holdfast.hcl: seal \"static\" current_key_id: missing"),
        ("listener = 5", "holdfast.hcl: line 1"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_environment_wins_and_holdfast_wins_over_vault() {
    let mut config = read("api_addr = \"https://file\"\nlog_level = \"warn\"").unwrap();
    let environment = |name: &str| match name {
        "VAULT_API_ADDR" => Some("https://vault".to_owned()),
        "HOLDFAST_API_ADDR" => Some("https://holdfast".to_owned()),
        "VAULT_LOG_LEVEL" => Some("trace".to_owned()),
        _ => None,
    };
    config.add_environment(&environment).unwrap();
    assert_eq!((config.api_addr.as_deref(), config.log_level.as_deref()), (Some("https://holdfast"), Some("trace")));
}

#[test]
fn folders_are_read_in_order_of_name() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("b.json"), r#"{"log_level": "error"}"#).unwrap();
    std::fs::write(folder.path().join("a.hcl"), "log_level = \"debug\"\ncluster_name = \"c\"").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a configuration").unwrap();
    let config = Config::load(&[folder.path().to_owned()], &|_| None).unwrap();
    assert_eq!((config.log_level.as_deref(), config.cluster_name.as_deref()), (Some("error"), Some("c")));
    let missing = Config::load(&[folder.path().join("none.hcl")], &|_| None).unwrap_err().to_string();
    assert!(missing.contains("none.hcl"), "{missing}");
}

#[test]
fn limits_headers_and_unix_sockets_of_listeners() {
    let config = read(
        r#"
        listener "unix" {
          address = "/run/holdfast.sock"
          socket_mode = "0660"
          socket_user = "root"
          socket_group = 12
          max_json_depth = 20
          max_anonymous_request_size = 1000
          max_anonymous_json_values = 50
          max_connections = 10
          telemetry { metrics_only = true }
          custom_response_headers {
            "default" = { "X-A" = ["1", "2"] }
            "2xx" = { "X-B" = ["3"] }
          }
        }
        "#,
    )
    .unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let listener = &config.listeners[0];
    let Address::Unix(socket) = &listener.address else { panic!("{:?}", listener.address) };
    assert_eq!((socket.mode, socket.user, socket.group), (Some(0o660), Some(0), Some(12)));
    assert_eq!(
        (listener.limits.json_depth, listener.limits.anonymous_body, listener.limits.connections),
        (20, 1000, 10)
    );
    assert_eq!(listener.limits.anonymous_json_values, 50);
    assert!(listener.metrics_only);
    assert!(format!("{:?}", listener.headers).contains("x-b"), "{:?}", listener.headers);
    for (text, expected) in [
        ("listener \"unix\" { address = \"/a\" socket_mode = \"rw\" }", "socket_mode"),
        ("listener \"unix\" { address = \"/a\" socket_user = \"no-such-user\" }", "socket_user"),
        ("listener \"unix\" {}", "address: missing"),
        ("listener \"unix\" { address = \"/a\" max_json_depth = 1000 }", "max_json_depth"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn storage_of_other_servers_is_mapped() {
    let folder = tempfile::TempDir::new().unwrap();
    let load = |text: &str, environment: &[(&str, &str)]| {
        let file = folder.path().join("vault.hcl");
        std::fs::write(&file, text).unwrap();
        let environment: std::collections::HashMap<&str, &str> = environment.iter().copied().collect();
        Config::load(&[file], &|name| environment.get(name).map(|value| (*value).to_owned())).unwrap()
    };
    let file = |config: &Config| match &config.storage {
        Some(StorageConfig::File { path }) => path.display().to_string(),
        other => panic!("{other:?}"),
    };
    let own = load("storage \"file\" { path = \"/opt/vault\" }", &[]);
    assert!(file(&own) == "/opt/vault" && own.warnings[0].contains("nothing of another server is read"));
    let raft = load("storage \"raft\" { path = \"/opt/vault\" node_id = \"a\" }", &[]);
    assert_eq!((file(&raft).as_str(), raft.warnings.len()), ("/opt/vault", 1));

    let consul =
        |path: &str| format!("backend \"consul\" {{ address = \"127.0.0.1:8500\" path = {path:?} token = \"s\" }}");
    let data = [("HOLDFAST_DATA_DIR", "/data")];
    let one = load(&consul("vault_a/"), &data);
    assert!(file(&one).starts_with("/data/consul-"), "{}", file(&one));
    assert!(one.warnings[0].contains("HOLDFAST_ETCD_ENDPOINTS"), "{:?}", one.warnings);
    assert_eq!(file(&one), file(&load(&consul("vault_a"), &data)), "the same place");
    assert_ne!(file(&one), file(&load(&consul("vault_b"), &data)), "another place");
    assert!(file(&load(&consul("a"), &[("HOME", "/home/u")])).starts_with("/home/u/.local/state/holdfast/consul-"));

    let shared = load(&consul("vault_a/"), &[("HOLDFAST_ETCD_ENDPOINTS", "http://a:2379, http://b:2379")]);
    let Some(StorageConfig::Etcd(etcd)) = &shared.storage else { panic!("{:?}", shared.storage) };
    assert_eq!(etcd.endpoints, ["http://a:2379", "http://b:2379"]);
    assert!(etcd.prefix.starts_with("holdfast-consul/"), "{}", etcd.prefix);
}

#[test]
fn audit_devices_of_the_configuration() {
    let text = r#"
audit "file" "main" {
  description = "for all"
  options { file_path = "/var/log/audit.log" required = true mode = "0600" }
}
audit "syslog" "remote" { options { address = "log:514" } }
audit_directories = ["/var/log"]
"#;
    let mut config = Config::default();
    config.add(Path::new("test.hcl"), &holdfast_hcl::parse(text).unwrap()).unwrap();
    let [main, remote] = &config.audit.devices[..] else { panic!("{:?}", config.audit) };
    assert_eq!((main.path.as_str(), main.kind.as_str(), main.description.as_str()), ("main", "file", "for all"));
    assert_eq!(main.options["required"], "true");
    assert_eq!(remote.options["address"], "log:514");
    assert_eq!(config.audit.folders.as_deref(), Some(&[PathBuf::from("/var/log")][..]));
    for wrong in ["audit \"http\" \"x\" {}", "audit \"file\" \"x\" {}\naudit \"file\" \"x/\" {}"] {
        let mut config = Config::default();
        assert!(config.add(Path::new("test.hcl"), &holdfast_hcl::parse(wrong).unwrap()).is_err(), "{wrong}");
    }
}
