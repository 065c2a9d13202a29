//! Every key of the documentation of Vault's agent: it has an effect, or a warning or an error names it, or the how-to says
//! that nothing need be done for it.

use std::fs;

const PAGE: &str = include_str!("../../../docs/how-to/agent.md");
const TEMPLATE: &str = r#"template { contents = "x" destination = "/x" @ }"#;
const METHOD: &str = r#"auto_auth { method "kubernetes" { config = { role = "app" } } }"#;

/// A file with `@` where keys go, and keys with values that are not the default.
const KEYS: &[(&str, &[(&str, &str)])] = &[
    (
        "@",
        &[
            ("pid_file", "\"/pid\""),
            ("exit_after_auth", "true"),
            ("log_level", "\"trace\""),
            ("log_format", "\"json\""),
            ("log_file", "\"/log\""),
            ("log_rotate_duration", "\"1h\""),
            ("log_rotate_bytes", "5"),
            ("log_rotate_max_files", "5"),
            ("disable_idle_connections", "[\"caching\"]"),
            ("disable_keep_alives", "[\"caching\"]"),
            ("disable_mlock", "true"),
        ],
    ),
    (
        "vault { @ }",
        &[
            ("address", "\"http://x\""),
            ("namespace", "\"n\""),
            ("ca_cert", "\"/ca\""),
            ("ca_path", "\"/no/such\""),
            ("client_cert", "\"/c\""),
            ("client_key", "\"/k\""),
            ("tls_skip_verify", "true"),
            ("tls_server_name", "\"n\""),
        ],
    ),
    ("vault { retry { @ } } template_config { exit_on_retry_failure = true }", &[("num_retries", "3")]),
    (
        "template_config { @ }",
        &[
            ("exit_on_retry_failure", "true"),
            ("static_secret_render_interval", "\"9s\""),
            ("max_connections_per_host", "3"),
            ("lease_renewal_threshold", "0.5"),
        ],
    ),
    (
        "template { contents = \"y\" destination = \"/y\" @ }",
        &[
            ("source", "\"/no/such\""),
            ("create_dest_dirs", "false"),
            ("error_on_missing_key", "true"),
            ("error_fatal", "true"),
            ("exec", "{ command = [\"c\"] }"),
            ("command", "\"c\""),
            ("perms", "\"0600\""),
            ("backup", "true"),
            ("left_delimiter", "\"<<\""),
            ("right_delimiter", "\">>\""),
            ("sandbox_path", "\"/s\""),
            ("wait", "{ min = \"1s\" max = \"2s\" }"),
            ("user", "\"7\""),
            ("group", "\"7\""),
            ("uid", "7"),
            ("gid", "7"),
            ("splay", "\"1s\""),
            ("function_denylist", "[\"env\"]"),
            ("function_blacklist", "[\"env\"]"),
            ("map_to_environment_variable", "\"X\""),
        ],
    ),
    ("template { contents = \"y\" destination = \"/y\" command = \"c\" @ }", &[("command_timeout", "\"1s\"")]),
    (
        "template { contents = \"y\" destination = \"/y\" exec { command = [\"c\"] @ } }",
        &[
            ("enabled", "false"),
            ("timeout", "\"1s\""),
            ("env", "{ pristine = true }"),
            ("kill_signal", "\"SIGINT\""),
            ("kill_timeout", "\"1s\""),
            ("reload_signal", "\"SIGHUP\""),
            ("splay", "\"1s\""),
        ],
    ),
    (
        "env_template \"P\" { contents = \"y\" @ } exec { command = [\"c\"] }",
        &[
            ("source", "\"/no/such\""),
            ("error_on_missing_key", "true"),
            ("left_delimiter", "\"<<\""),
            ("right_delimiter", "\">>\""),
            ("sandbox_path", "\"/s\""),
            ("wait", "{ min = \"1s\" }"),
            ("destination", "\"/y\""),
            ("perms", "\"0600\""),
        ],
    ),
    (
        "exec { command = [\"c\"] @ }",
        &[
            ("restart_on_secret_changes", "\"never\""),
            ("restart_stop_signal", "\"SIGINT\""),
            ("env", "{ pristine = true }"),
        ],
    ),
    (
        "cache { @ } listener \"unix\" { address = \"/s\" }",
        &[
            ("use_auto_auth_token", "true"),
            ("enforce_consistency", "\"always\""),
            ("when_inconsistent", "\"fail\""),
            ("persist", "\"kubernetes\" { path = \"/p\" }"),
            ("cache_static_secrets", "true"),
            ("static_secret_token_capability_refresh_interval", "\"1m\""),
        ],
    ),
    (
        "api_proxy { @ } listener \"unix\" { address = \"/s\" }",
        &[
            ("use_auto_auth_token", "\"force\""),
            ("enforce_consistency", "\"always\""),
            ("when_inconsistent", "\"retry\""),
        ],
    ),
    (
        "listener \"tcp\" { address = \"127.0.0.1:1\" tls_cert_file = \"/c\" tls_key_file = \"/k\" @ }",
        &[
            ("require_request_header", "true"),
            ("role", "\"metrics_only\""),
            ("agent_api", "{ enable_quit = true }"),
            ("proxy_api", "{ enable_quit = true }"),
            ("tls_disable", "true"),
            ("tls_min_version", "\"tls13\""),
            ("tls_max_version", "\"tls12\""),
            ("tls_cipher_suites", "\"x\""),
            ("tls_prefer_server_cipher_suites", "true"),
            ("tls_client_ca_file", "\"/ca\""),
            ("tls_require_and_verify_client_cert", "true"),
            ("telemetry", "{ unauthenticated_metrics_access = true }"),
            ("profiling", "{ unauthenticated_pprof_access = true }"),
        ],
    ),
    (
        "listener \"unix\" { address = \"/s\" @ }",
        &[("socket_mode", "\"0660\""), ("socket_user", "\"7\""), ("socket_group", "\"7\"")],
    ),
    (
        "telemetry { @ }",
        &[
            ("usage_gauge_period", "\"1m\""),
            ("disable_hostname", "true"),
            ("prometheus_retention_time", "\"1h\""),
            ("statsd_address", "\"x:1\""),
            ("statsite_address", "\"x:1\""),
            ("dogstatsd_addr", "\"x:1\""),
            ("circonus_api_token", "\"x\""),
        ],
    ),
];

/// The same inside `auto_auth`, where the base must have no method of its own.
const AUTH_KEYS: &[(&str, &[(&str, &str)])] = &[
    ("auto_auth { method \"kubernetes\" { config = {} } @ }", &[("enable_reauth_on_new_credentials", "true")]),
    (
        "auto_auth { method \"kubernetes\" { config = {} @ } }",
        &[
            ("mount_path", "\"auth/k\""),
            ("namespace", "\"n\""),
            ("wrap_ttl", "\"1m\""),
            ("min_backoff", "\"2s\""),
            ("max_backoff", "\"9s\""),
            ("exit_on_err", "true"),
        ],
    ),
    ("auto_auth { method \"kubernetes\" { config = { @ } } }", &[("role", "\"r\""), ("token_path", "\"/t\"")]),
    (
        "auto_auth { method \"jwt\" { config = { path = \"/j\" @ } } }",
        &[
            ("role", "\"r\""),
            ("remove_jwt_after_reading", "false"),
            ("remove_jwt_follows_symlinks", "true"),
            ("skip_token_renewal", "true"),
            ("jwt_read_period", "\"1s\""),
        ],
    ),
    (
        "auto_auth { method \"approle\" { config = { role_id_file_path = \"/r\" @ } } }",
        &[
            ("secret_id_file_path", "\"/s\""),
            ("remove_secret_id_file_after_reading", "false"),
            ("secret_id_response_wrapping_path", "\"auth/x\""),
        ],
    ),
    (
        "auto_auth { method \"cert\" { config = { @ } } }",
        &[
            ("name", "\"n\""),
            ("ca_cert", "\"/ca\""),
            ("client_cert", "\"/c\""),
            ("client_key", "\"/k\""),
            ("reload", "true"),
        ],
    ),
    (
        "auto_auth { method \"kubernetes\" { config = {} } sink \"file\" { config = { path = \"/t\" } @ } }",
        &[
            ("wrap_ttl", "\"1m\""),
            ("dh_type", "\"curve25519\""),
            ("dh_path", "\"/d\""),
            ("derive_key", "true"),
            ("aad", "\"x\""),
            ("aad_env_var", "\"X\""),
        ],
    ),
    (
        "auto_auth { method \"kubernetes\" { config = {} } sink \"file\" { config = { path = \"/t\" @ } } }",
        &[("mode", "0600"), ("owner", "7"), ("group", "7"), ("uid", "7"), ("gid", "7")],
    ),
];

/// The configuration and the warnings, or the error.
fn loaded(text: &str) -> Result<(String, String), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.hcl");
    fs::write(&file, text).unwrap();
    let loaded = super::load(&[file], &|_| None).map_err(|error| error.to_string())?;
    Ok((format!("{:?}", loaded.config), loaded.warnings.join("\n")))
}

/// Has the key an effect, or a word about it?
fn is_said(place: &str, base: &str, key: &str, value: &str) -> bool {
    let page = |text: &str| format!("{} {}", text, base.replace('@', ""));
    let (plain, warnings) = loaded(&page(&place.replace('@', ""))).unwrap();
    assert_eq!(warnings, "", "{place}");
    let equals = if value.starts_with('{') || value.contains("\" {") { "" } else { "= " };
    match loaded(&page(&place.replace('@', &format!("{key} {equals}{value}")))) {
        Err(error) => error.contains(key) || value.contains("/no/such") && error.contains("/no/such"),
        Ok((config, warnings)) => {
            assert!(!warnings.contains("unknown key"), "{place} {key}: {warnings}");
            config != plain || warnings.contains(key)
        }
    }
}

#[test]
fn no_key_of_vaults_documentation_is_dropped_without_a_word() {
    let moot = PAGE.lines().find(|line| line.starts_with("Accepted, and nothing need be done")).unwrap();
    let with_method = format!("{METHOD} {TEMPLATE}");
    let mut silent = Vec::new();
    for (base, table) in [(with_method.as_str(), KEYS), (TEMPLATE, AUTH_KEYS)] {
        for (place, keys) in table {
            for (key, value) in *keys {
                let said = is_said(place, base, key, value);
                let excused = moot.contains(&format!("`{key}`"));
                if said == excused {
                    silent.push(format!("{place}: {key} (said: {said}, in the page: {excused})"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
