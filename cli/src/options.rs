//! The tree of commands, and the flags that every command takes.

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{commands, flags, format::Format};

/// A secrets manager for Kubernetes that speaks the Vault HTTP API.
#[derive(Parser)]
#[command(
    name = "holdfast",
    bin_name = "holdfast",
    disable_help_subcommand = true,
    disable_version_flag = true,
    after_help = "The server: holdfast server -help. Flags may be written with one dash or two."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection and output")]
pub struct Global {
    /// Address of the server (HOLDFAST_ADDR, VAULT_ADDR; default https://127.0.0.1:8200).
    #[arg(long, global = true, value_name = "URL")]
    pub address: Option<String>,
    /// File with the CA certificates to trust, PEM (…_CACERT).
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_cert: Option<String>,
    /// Folder with the CA certificates to trust, PEM (…_CAPATH).
    #[arg(long, global = true, value_name = "FOLDER")]
    pub ca_path: Option<String>,
    /// File with the client certificate, PEM (…_CLIENT_CERT).
    #[arg(long, global = true, value_name = "FILE")]
    pub client_cert: Option<String>,
    /// File with its key, PEM (…_CLIENT_KEY).
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<String>,
    /// Do not check the server's certificate (…_SKIP_VERIFY).
    #[arg(long, global = true)]
    pub tls_skip_verify: bool,
    /// Name to expect in the server's certificate (…_TLS_SERVER_NAME).
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Namespace (…_NAMESPACE).
    #[arg(long, alias = "ns", global = true)]
    pub namespace: Option<String>,
    /// Wrap the answer in a token that lives this long (…_WRAP_TTL).
    #[arg(long, global = true, value_name = "DURATION")]
    pub wrap_ttl: Option<String>,
    /// How to print (…_FORMAT; default table).
    #[arg(long, global = true, value_enum, ignore_case = true)]
    pub format: Option<Format>,
    /// Print this field only.
    #[arg(long, global = true, value_name = "NAME")]
    pub field: Option<String>,
    /// Header that every request carries, key=value; may be repeated. Not one that begins with X-Vault-.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub header: Vec<String>,
    /// A second factor, method or method:passcode; may be repeated (…_MFA).
    #[arg(long, global = true, value_name = "FACTOR")]
    pub mfa: Vec<String>,
    /// Print the request as a curl command instead of sending it.
    #[arg(long, global = true)]
    pub output_curl_string: bool,
    /// Print a policy that would allow the request instead of sending it.
    #[arg(long, global = true, conflicts_with = "output_curl_string")]
    pub output_policy: bool,
    /// Ask for nothing: what is missing is an error, also on a terminal.
    #[arg(long, global = true)]
    pub non_interactive: bool,
    /// Sent along, as Vault does; there are no Sentinel policies to override.
    #[arg(long, global = true)]
    pub policy_override: bool,
    /// Accepted for Vault's sake: nothing is printed in colours (…_CLI_NO_COLOR).
    #[arg(long, global = true)]
    pub no_color: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read data and credentials.
    Read(commands::read::Read),
    /// Write data and configuration.
    Write(commands::write::Write),
    /// Merge into data (PATCH).
    Patch(commands::write::Patch),
    /// Delete data and configuration.
    Delete(commands::delete::Delete),
    /// List what is there.
    List(commands::list::List),
    /// List everything below a folder.
    Scan(commands::list::Scan),
    /// Log in, and keep the token.
    Login(commands::login::Login),
    /// Show whether the server is sealed (exit code 2 if so).
    Status,
    /// Open a wrapped answer.
    Unwrap(commands::unwrap::Unwrap),
    /// Key and value secrets, versioned or not.
    #[command(subcommand)]
    Kv(commands::kv::Kv),
    /// Secret engines.
    #[command(subcommand)]
    Secrets(commands::secrets::Secrets),
    /// Auth methods.
    #[command(subcommand)]
    Auth(commands::auth::Auth),
    /// Namespaces.
    #[command(subcommand)]
    Namespace(commands::namespace::Namespace),
    /// Policies.
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// Tokens.
    #[command(subcommand)]
    Token(commands::token::Token),
    /// Leases.
    #[command(subcommand)]
    Lease(commands::lease::Lease),
    /// Audit devices.
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    /// What engines do, as they do it.
    #[command(subcommand)]
    Events(commands::events::Events),
    /// Plug-ins of this build.
    #[command(subcommand)]
    Plugin(commands::plugin::Plugin),
    /// The versions that have served this store.
    VersionHistory,
    /// Show the server's log as it is written (not served: see there).
    Monitor(commands::monitor::Monitor),
    /// Initialise, seal, rotate, check.
    #[command(subcommand)]
    Operator(commands::operator::Operator),
    /// Show what a path is for.
    PathHelp(commands::path_help::PathHelp),
    /// Print what this command runs with.
    #[command(subcommand)]
    Print(commands::print::Print),
    /// Print the version.
    Version,
}

/// The whole tree, as [`crate::run`] parses it and as the reference is made from.
pub fn command() -> clap::Command {
    flags::lenient(Cli::command())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(text: &str) -> Result<Cli, clap::Error> {
        let arguments = flags::rewrite(text.split_whitespace().map(Into::into).collect());
        Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_vaults_users_type() {
        for line in [
            "holdfast kv put -mount=secret -cas=0 app user=ada pass=@f note=-",
            "holdfast kv put secret/app -",
            "holdfast kv get -version=2 -format=json secret/app",
            "holdfast kv delete -versions=1,2 secret/app",
            "holdfast kv metadata put -max-versions 3 -custom-metadata=a=b secret/app",
            "holdfast secrets enable -path=db -default-lease-ttl=1h database",
            "holdfast secrets enable -version=2 kv",
            "holdfast secrets enable kv-v2",
            "holdfast secrets disable db/",
            "holdfast secrets list -detailed",
            "holdfast auth enable kubernetes",
            "holdfast auth tune -user-lockout-threshold=3 -user-lockout-disable=false users/",
            "holdfast scan -after=a -limit=2 secret/metadata",
            "holdfast kv metadata patch -remove-custom-metadata=team secret/app",
            "holdfast namespace create -ns=team -custom-metadata=a=b inner",
            "holdfast policy write app -",
            "holdfast policy write -format=json app app.hcl",
            "holdfast token create -policy=a -policy=b -ttl=1h -orphan",
            "holdfast token create -id=x -no-default-policy=true -metadata a=b",
            "holdfast token revoke -self",
            "holdfast token revoke -accessor abc",
            "holdfast token capabilities secret/x",
            "holdfast token capabilities hvs.x secret/x",
            "holdfast lease revoke -force -prefix database/creds",
            "holdfast lease renew -increment=60 database/creds/x",
            "holdfast audit enable file file_path=/tmp/a mode=0600",
            "holdfast operator init -key-shares=1 -key-threshold=1 -format=json",
            "holdfast operator unseal",
            "holdfast operator unseal abc",
            "holdfast login -method=kubernetes role=app",
            "holdfast login -",
            "holdfast login -no-print=true hvs.x",
            "holdfast write -f auth/x/rotate",
            "holdfast write -force=true x",
            "holdfast write -field=password x a=1",
            "holdfast read -wrap-ttl=60s -ns=a secret/x",
            "holdfast list -address=http://x:1 -tls-skip-verify secret/",
            "holdfast unwrap hvs.x",
            "holdfast status -format json",
            "holdfast list -after=a -limit=2 secret/metadata",
            "holdfast plugin list -detailed secret",
            "holdfast plugin info auth approle",
            "holdfast plugin reload -plugin=kv -scope=global",
            "holdfast plugin reload -mounts=secret/ -mounts=kv/",
            "holdfast plugin register -sha256=abc -command=x -args=a -env=B=c secret x",
            "holdfast plugin deregister -version=v1 secret x",
            "holdfast version-history -format=json",
            "holdfast auth move auth/a/ auth/b/",
            "holdfast auth help approle",
            "holdfast monitor -log-level=debug -log-format=json",
            "holdfast operator diagnose -config=/etc/holdfast.hcl -format=json",
            "holdfast read -header=X-Trace=1 -header X-Other=2 -mfa=totp:123456 -policy-override -no-color x",
            "holdfast write -output-curl-string -non-interactive x a=1",
            "holdfast delete -output-policy x",
            "holdfast events subscribe -namespaces=a -namespaces=b* -filter=x -timeout=5s kv*",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
        for line in ["holdfast", "holdfast kv", "holdfast kv put", "holdfast fly", "holdfast read -colour=red x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn switches_can_be_turned_off() {
        let switched = |line: &str| match parse(line).unwrap().command {
            Command::Write(write) => write.force,
            _ => false,
        };
        assert!(switched("holdfast write -force x"));
        assert!(switched("holdfast write -f x"));
        assert!(!switched("holdfast write -force=false x"));
        assert!(!switched("holdfast write x"));
    }
}
