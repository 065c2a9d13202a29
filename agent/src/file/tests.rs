//! Files as people have them for Vault's agent, and what is wrong in others.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    action::Action,
    config::{Address, Config, Inherited, Method, TlsVersion, UseToken},
};

fn load(text: &str) -> Result<super::Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.hcl");
    fs::write(&file, text).unwrap();
    let shown = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
    match super::load(&[file], &|_| None) {
        Ok(mut loaded) => {
            loaded.warnings = loaded.warnings.into_iter().map(shown).collect();
            Ok(loaded)
        }
        Err(error) => Err(shown(error.to_string())),
    }
}

fn config(text: &str) -> Config {
    let loaded = load(text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.config
}

const AUTH: &str = r#"auto_auth { method "kubernetes" { mount_path = "auth/k8s" config = { role = "app" } } }"#;

#[test]
fn a_file_with_everything() {
    let config = config(
        r#"
        pid_file = "/run/agent.pid"
        exit_after_auth = true
        log_level = "debug"
        vault {
          address = "https://vault:8200"
          namespace = "team"
          ca_cert = "/ca.pem"
          tls_skip_verify = "true"
          retry { num_retries = 5 }
        }
        auto_auth {
          method {
            type = "approle"
            namespace = "other"
            exit_on_err = true
            min_backoff = "3s"
            max_backoff = "2m"
            config = {
              role_id_file_path = "/role"
              secret_id_file_path = "/secret"
              remove_secret_id_file_after_reading = false
              secret_id_response_wrapping_path = "auth/approle/role/x/secret-id"
            }
          }
          sink { type = "file" wrap_ttl = "5m" config = { path = "/token" mode = 0600 } }
          sink "file" { config = { path = "/token2" } }
        }
        template_config { exit_on_retry_failure = true static_secret_render_interval = "10m" }
        template {
          contents = "x"
          destination = "/out/a.conf"
          perms = 0655
          user = "root"
          group = "0"
          create_dest_dirs = false
          backup = true
          left_delimiter = "<<"
          error_on_missing_key = true
          sandbox_path = "/out"
          exec { command = ["reload", "it"] timeout = "10s" }
        }
        template { contents = "y" destination = "/other/a.conf" uid = 7 gid = 8 command = "pkill -HUP app" command_timeout = "60s" }
        cache { persist = { type = "kubernetes" path = "/x" } }
        api_proxy { use_auto_auth_token = "force" enforce_consistency = "always" }
        listener "tcp" { address = "127.0.0.1:8300" tls_disable = true require_request_header = true role = "default" }
        listener { type = "tcp" address = "127.0.0.1:3000" tls_disable = true role = "metrics_only" }
        listener "unix" { address = "/agent.sock" socket_mode = "0660" }
        telemetry { prometheus_retention_time = "30s" disable_hostname = true }
        "#,
    );
    assert_eq!(
        (config.server.address.as_str(), config.server.namespace.as_deref()),
        ("https://vault:8200", Some("team"))
    );
    assert!(config.server.tls_skip_verify && config.exit_after_auth && config.auth.exit_on_error && config.proxy.cache);
    assert_eq!(config.give_up_after, Some(5));
    let seconds = |wait: Option<Duration>| wait.map(|wait| wait.as_secs());
    assert_eq!((seconds(config.auth.min_backoff), seconds(config.auth.max_backoff)), (Some(3), Some(120)));
    assert_eq!(config.refresh, Duration::from_secs(600));
    let Method::Approle { secret_id, remove: false, wrapped_at: Some(_), .. } = &config.auth.method else {
        panic!("{:?}", config.auth)
    };
    assert_eq!(secret_id.as_deref(), Some(std::path::Path::new("/secret")));
    let sinks: Vec<_> = config.sinks.iter().map(|sink| (sink.mode.as_str(), sink.wrap_ttl.is_some())).collect();
    assert_eq!(sinks, [("0600", true), ("0640", false)]);
    let (first, second) = (&config.items[0], &config.items[1]);
    assert_eq!((first.name.as_str(), second.name.as_str()), ("a.conf", "a.conf-2"));
    assert_eq!((first.mode.as_str(), first.backup, first.folder_must_exist), ("0655", true, true));
    assert_eq!(first.delimiters, Some(("<<".to_owned(), "}}".to_owned())));
    let exec = |command: &[&str], seconds| Action::Exec {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout: Duration::from_secs(seconds),
        inherited: Inherited::default(),
    };
    assert_eq!(first.on_change, [exec(&["reload", "it"], 10)]);
    assert_eq!(second.owner, Some(("7".to_owned(), "8".to_owned())));
    assert_eq!(second.on_change, [exec(&["pkill", "-HUP", "app"], 60)]);
    assert_eq!(config.proxy.use_token, UseToken::Always);
    assert_eq!(config.listeners[2].address, Address::Unix(PathBuf::from("/agent.sock"), "0660".to_owned()));
    assert!(config.listeners[1].metrics_only && config.listeners[0].require_request_header);
}

#[test]
fn the_same_in_json() {
    let config = config(
        r#"{
            "auto_auth": { "method": { "type": "jwt", "config": { "role": "r", "path": "/jwt" } } },
            "env_template": { "PASS": { "contents": "x" }, "USER": { "contents": "y" } },
            "exec": { "command": ["/bin/app", "-x"], "restart_on_secret_changes": "never", "restart_stop_signal": "SIGINT" },
            "template_config": { "static_secret_render_interval": "1m" }
        }"#,
    );
    assert_eq!(config.auth.method, Method::Jwt { remove: true });
    assert_eq!(config.auth.mount, "jwt");
    let names: Vec<_> = config.items.iter().map(|item| item.variable.as_deref().unwrap()).collect();
    assert_eq!(names, ["PASS", "USER"]);
    let exec = config.exec.unwrap();
    assert_eq!((exec.command.len(), exec.restart, exec.stop_signal.as_str()), (2, false, "INT"));
}

#[test]
fn what_restricts_is_kept() {
    let config = config(&format!(
        r#"{AUTH}
        template {{
          contents = "x"
          destination = "/x"
          function_denylist = ["env", "executeTemplate"]
          exec {{
            command = ["reload"]
            env {{ pristine = true custom = ["A=b=c"] allowlist = ["PATH", "APP_*"] denylist = ["APP_SECRET"] }}
          }}
          exec {{ command = ["never"] enabled = false }}
        }}
        exec {{ command = ["app"] env {{ denylist = ["VAULT_*"] }} }}
        listener "tcp" {{
          address = "127.0.0.1:1"
          tls_cert_file = "/cert"
          tls_key_file = "/key"
          tls_client_ca_file = "/ca"
          tls_min_version = "tls13"
        }}"#
    ));
    let item = &config.items[0];
    assert_eq!(item.denied_functions, ["env", "executeTemplate"]);
    let [Action::Exec { inherited, .. }] = item.on_change.as_slice() else { panic!("{:?}", item.on_change) };
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let wanted = Inherited {
        pristine: true,
        custom: vec![("A".to_owned(), "b=c".to_owned())],
        allow: list(&["PATH", "APP_*"]),
        deny: list(&["APP_SECRET"]),
    };
    assert_eq!(*inherited, wanted);
    assert_eq!(config.exec.unwrap().inherited.deny, ["VAULT_*"]);
    let tls = config.listeners[0].tls.clone().unwrap();
    assert_eq!((tls.client_ca, tls.only), (Some(PathBuf::from("/ca")), Some(TlsVersion::Tls13)));
}

#[test]
fn the_environment_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.hcl"), format!("vault {{ address = \"http://file\" }}\n{AUTH}")).unwrap();
    fs::write(folder.path().join("b.hcl"), r#"template { contents = "x" destination = "/x" }"#).unwrap();
    let environment = |name: &str| match name {
        "VAULT_ADDR" => Some("http://vault".to_owned()),
        "HOLDFAST_ADDR" => Some("http://holdfast".to_owned()),
        "VAULT_NAMESPACE" => Some("team".to_owned()),
        _ => None,
    };
    let config = super::load(&[folder.path().to_owned()], &environment).unwrap().config;
    assert_eq!((config.server.address.as_str(), config.server.namespace.as_deref()), ("http://holdfast", Some("team")));
    assert_eq!((config.auth.mount.as_str(), config.auth.role.as_str(), config.items.len()), ("k8s", "app", 1));
}

#[test]
fn what_is_unknown_is_a_warning_with_its_line() {
    let loaded = load(&format!(
        "{AUTH}\nlisener \"tcp\" {{}}\ntemplate {{\n contents = \"x\"\n destination = \"/x\"\n perm = 1\n}}\n\
         cache {{ cache_static_secrets = true }}\nlistener \"tcp\" {{ address = \"127.0.0.1:1\" tls_disable = true }}"
    ))
    .unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "agent.hcl: template: unknown key \"perm\" in line 6 is ignored",
            "agent.hcl: cache: cache_static_secrets is not supported and has no effect",
            "agent.hcl: unknown key \"lisener\" in line 2 is ignored",
        ]
    );
}

#[test]
fn what_is_wrong_names_its_place() {
    let env = r#"env_template "PASS" { contents = "x" }"#;
    for (text, reason) in [
        ("template {".to_owned(), "agent.hcl: line 1"),
        (String::new(), "nothing to do: give a sink, a template, an env_template with exec, or a listener"),
        (AUTH.to_owned(), "nothing to do"),
        (r#"template { contents = "x" destination = "/x" }"#.to_owned(), "auto_auth: missing; templates need it"),
        (format!("{AUTH}{AUTH}"), "agent.hcl: auto_auth method \"kubernetes\": there is another method already"),
        (
            r#"auto_auth { method "aws" { config = { role = "x" } } }"#.to_owned(),
            "\"aws\" is not supported; use kubernetes",
        ),
        (r#"auto_auth { method "moon" { config = {} } }"#.to_owned(), "\"moon\" is not known"),
        (r#"auto_auth { method "jwt" { wrap_ttl = "5m" config = { path = "x" } } }"#.to_owned(), "wrap it in the sink"),
        (
            r#"auto_auth { sink "file" { dh_type = "curve25519" config = { path = "/x" } } }"#.to_owned(),
            "encrypting sinks are not supported",
        ),
        (
            r#"listener "tcp" { address = "127.0.0.1:1" }"#.to_owned(),
            "tls_cert_file and tls_key_file are needed, or tls_disable = true",
        ),
        (
            r#"listener "tcp" { address = "127.0.0.1:1" tls_disable = true tls_client_ca_file = "/ca" }"#.to_owned(),
            "tls_client_ca_file: needs TLS, and there is none here",
        ),
        (
            r#"listener "tcp" { address = "127.0.0.1:1" tls_require_and_verify_client_cert = true }"#.to_owned(),
            "tls_client_ca_file: missing; tls_require_and_verify_client_cert needs it",
        ),
        (
            r#"listener "unix" { address = "/x" tls_cipher_suites = "TLS_RSA" }"#.to_owned(),
            "tls_cipher_suites: cannot be chosen",
        ),
        (
            format!("{AUTH}template {{ contents = \"x\" destination = \"/x\" exec {{ env {{ custom = [\"x\"] }} }} }}"),
            "env custom: \"x\" is no NAME=value",
        ),
        (
            format!(
                "{AUTH}template {{ contents = \"x\" destination = \"/x\" exec {{ env {{ allowlist = \"A?\" }} }} }}"
            ),
            "env allowlist: \"A?\": only * stands for other text",
        ),
        (
            "api_proxy { use_auto_auth_token = true }\nlistener \"unix\" { address = \"/x\" }".to_owned(),
            "api_proxy: use_auto_auth_token needs auto_auth",
        ),
        (
            format!("{AUTH}cache {{ use_auto_auth_token = true }}api_proxy {{ use_auto_auth_token = true }}"),
            "it stands in api_proxy or in cache, not in both",
        ),
        (format!("{AUTH}{env}"), "PASS: a variable needs an exec"),
        (
            format!("{AUTH}env_template \"P\" {{ contents = \"x\" perms = \"0600\" }}"),
            "is for files, not for variables",
        ),
        (
            format!("{AUTH}{env}exec {{ command = [\"env\"] restart_stop_signal = \"notasignal\" }}"),
            "\"NOTASIGNAL\" is not known",
        ),
        (format!("{AUTH}template {{ contents = \"x\" destination = \"/x\" perms = \"9\" }}"), "\"9\" is no octal mode"),
        (format!("{AUTH}template {{ contents = \"x\" source = \"y\" destination = \"/x\" }}"), "exclude each other"),
        (format!("{AUTH}template {{ source = \"/no/such\" destination = \"/x\" }}"), "/no/such: No such file"),
    ] {
        let error = load(&text).map(|loaded| loaded.config).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}
