//! Parameters of a SecretProviderClass of the secrets-store project, as classes with `provider: vault` have them: a map
//! of strings, in which `objects` is a YAML list. They become the same [`Plan`] as our own attributes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Call, Content, Encoding, File, Origin, Plan,
    names::{check_file_name, check_path, first_line, unknown},
};
use crate::status::Failure;

/// What a class says of the server. It counts only where the administrator lets classes choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// `vaultAddress`.
    pub address: Option<String>,
    /// `vaultCACertPath`, a file in the driver's container.
    pub ca_file: Option<String>,
    /// `vaultCADirectory`, a folder of such files.
    pub ca_folder: Option<String>,
    /// `vaultTLSClientCertPath` and `vaultTLSClientKeyPath`, files in the driver's container.
    pub identity: Option<(String, String)>,
    /// `vaultTLSServerName`.
    pub tls_server_name: Option<String>,
    /// `vaultSkipTLSVerify`.
    pub skip_verify: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    object_name: Option<String>,
    secret_path: Option<String>,
    secret_key: Option<String>,
    method: Option<String>,
    secret_args: Option<BTreeMap<String, Value>>,
    file_permission: Option<String>,
    encoding: Option<String>,
}

const OBJECT_KEYS: [&str; 7] =
    ["objectName", "secretPath", "secretKey", "method", "secretArgs", "filePermission", "encoding"];

/// Reads the parameters of a class. Keys that are not known are passed over, as the Vault provider does: a class may be
/// for several versions of it.
pub fn parse(parameters: &BTreeMap<String, String>) -> Result<(Plan, Server), Failure> {
    // OpenBao's fork says bao where HashiCorp says vault.
    let given = |name: &str| {
        let other = name.strip_prefix("vault").map(|rest| format!("bao{rest}"));
        let found = parameters.get(name).or_else(|| parameters.get(&other?));
        found.map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let bad = |reason: String| Failure::Invalid(format!("SecretProviderClass: {reason}"));
    let mount = match (given("vaultAuthMountPath"), given("vaultKubernetesMountPath")) {
        (Some(_), Some(_)) => {
            return Err(bad("vaultAuthMountPath and vaultKubernetesMountPath exclude each other".to_owned()));
        }
        (Some(mount), None) | (None, Some(mount)) => Some(mount),
        (None, None) => None,
    };
    let skip_verify = match given("vaultSkipTLSVerify").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(bad(format!("vaultSkipTLSVerify {other:?}: give \"true\" or \"false\""))),
    };
    let identity = match (given("vaultTLSClientCertPath"), given("vaultTLSClientKeyPath")) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => return Err(bad("vaultTLSClientCertPath and vaultTLSClientKeyPath are needed together".to_owned())),
    };
    let server = Server {
        address: given("vaultAddress"),
        ca_file: given("vaultCACertPath"),
        ca_folder: given("vaultCADirectory"),
        identity,
        tls_server_name: given("vaultTLSServerName"),
        skip_verify,
    };
    let files = objects(parameters.get("objects").map(String::as_str).unwrap_or_default())?;
    super::check_names(&files)?;
    let plan = Plan {
        role: given("roleName").unwrap_or_default(),
        mount,
        namespace: given("vaultNamespace"),
        audience: given("audience"),
        refresh: None,
        files,
    };
    Ok((plan, server))
}

fn objects(text: &str) -> Result<Vec<File>, Failure> {
    let bad = |reason: String| Failure::Invalid(format!("SecretProviderClass: objects: {reason}"));
    if text.trim().is_empty() {
        return Err(bad("the class names none".to_owned()));
    }
    let loose: Vec<BTreeMap<String, Value>> = serde_saphyr::from_str(text)
        .map_err(|error| bad(format!("a YAML list of {{objectName, secretPath, …}}: {}", first_line(&error))))?;
    for (index, object) in loose.iter().enumerate() {
        for key in object.keys() {
            if !OBJECT_KEYS.contains(&key.as_str()) {
                return Err(unknown(&format!("SecretProviderClass: objects[{index}]: key"), key, &OBJECT_KEYS));
            }
        }
    }
    let objects: Vec<Object> = serde_saphyr::from_str(text).map_err(|error| bad(first_line(&error)))?;
    let file = |(index, object): (usize, Object)| {
        object.file().map_err(|reason| Failure::Invalid(format!("SecretProviderClass: objects[{index}]: {reason}")))
    };
    objects.into_iter().enumerate().map(file).collect()
}

// === impl Object ===

impl Object {
    fn file(self) -> Result<File, String> {
        let name = self.object_name.filter(|name| !name.is_empty()).ok_or("give objectName")?;
        check_file_name(&name)?;
        let whole = self.secret_path.filter(|path| !path.is_empty()).ok_or("give secretPath")?;
        let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
        let path = check_path(path)?;
        let origin = match self.method.as_deref().map(str::to_ascii_uppercase).as_deref() {
            None | Some("" | "GET") => {
                let arguments = self.secret_args.unwrap_or_default();
                let mut query = query.to_owned();
                for (key, value) in &arguments {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let separator = if query.is_empty() { "" } else { "&" };
                    query.push_str(&format!("{separator}{}={}", escape(key), escape(&value)));
                }
                if query.is_empty() { Origin::Path(path) } else { Origin::Call(Call { path, query, body: None }) }
            }
            Some("PUT" | "POST") => {
                let arguments: serde_json::Map<_, _> = self.secret_args.unwrap_or_default().into_iter().collect();
                let body = Some(Value::Object(arguments).to_string());
                Origin::Call(Call { path, query: query.to_owned(), body })
            }
            Some(other) => return Err(format!("method {other:?}: give GET or PUT")),
        };
        let encoding = match self.encoding.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "utf-8") => Encoding::Text,
            Some("base64") => Encoding::Base64,
            Some("hex") => Encoding::Hex,
            Some(other) => return Err(format!("encoding {other:?}: give utf-8, base64 or hex")),
        };
        let content = match self.secret_key.filter(|key| !key.is_empty()) {
            Some(key) => Content::Field(key, encoding),
            None => Content::Envelope,
        };
        let mode = self.file_permission.as_deref().map(permission).transpose()?;
        Ok(File { name, origin: Some(origin), content, mode })
    }
}

/// Permission bits as YAML readers of Go have them: with a leading zero octal, else decimal.
fn permission(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0o");
    let octal = digits.len() < text.len() || digits.starts_with('0');
    u32::from_str_radix(digits, if octal { 8 } else { 10 })
        .ok()
        .filter(|mode| (1..=0o777).contains(mode))
        .ok_or_else(|| format!("filePermission {text:?}: give octal permission bits, as 0644"))
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(parameters: &[(&str, &str)]) -> Result<(Plan, Server), Failure> {
        parse(&parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_class_of_the_vault_provider_is_read() {
        let objects = "- objectName: db-password\n  secretPath: secret/data/db-pass\n  secretKey: password\n\
                       - objectName: \"old\"\n  secretPath: \"secret/data/db-pass?version=2\"\n  filePermission: 0600\n\
                       - objectName: bin\n  secretPath: v1/secret/data/bin\n  secretKey: k\n  encoding: base64\n  filePermission: 420\n\
                       - objectName: test-certs\n  secretPath: pki/issue/example-dot-com\n  secretKey: certificate\n\
                       \x20 secretArgs: {common_name: test.example.com, ttl: 24h}\n  method: PUT\n\
                       - objectName: q\n  secretPath: x/y\n  secretArgs: {a: 'b c', n: 1}\n";
        let (plan, server) = class(&[
            ("vaultAddress", "https://vault:8200"),
            ("roleName", "csi"),
            ("vaultKubernetesMountPath", "k8s"),
            ("vaultNamespace", "team"),
            ("audience", "vault"),
            ("vaultSkipTLSVerify", "true"),
            ("vaultCADirectory", "/ca"),
            ("vaultTLSClientCertPath", "/c"),
            ("vaultTLSClientKeyPath", "/k"),
            ("objects", objects),
        ])
        .unwrap();
        assert_eq!(
            (plan.role.as_str(), plan.mount.as_deref(), plan.namespace.as_deref()),
            ("csi", Some("k8s"), Some("team"))
        );
        assert_eq!((plan.audience.as_deref(), server.skip_verify), (Some("vault"), true));
        assert_eq!(server.ca_folder.as_deref(), Some("/ca"));
        assert_eq!(server.identity, Some(("/c".to_owned(), "/k".to_owned())));
        let origins: Vec<_> = plan.files.iter().map(|file| file.origin.clone().unwrap()).collect();
        let call = |path: &str, query: &str, body: Option<&str>| {
            Origin::Call(Call { path: path.to_owned(), query: query.to_owned(), body: body.map(str::to_owned) })
        };
        assert_eq!(origins[0], Origin::Path("secret/data/db-pass".to_owned()));
        assert_eq!(origins[1], call("secret/data/db-pass", "version=2", None));
        assert_eq!(
            origins[3],
            call("pki/issue/example-dot-com", "", Some(r#"{"common_name":"test.example.com","ttl":"24h"}"#))
        );
        assert_eq!(origins[4], call("x/y", "a=b%20c&n=1", None));
        assert!(matches!(plan.files[1].content, Content::Envelope));
        assert_eq!([plan.files[1].mode, plan.files[2].mode], [Some(0o600), Some(0o644)]);
        assert!(matches!(&plan.files[2].content, Content::Field(_, Encoding::Base64)));
    }

    #[test]
    fn a_class_of_openbao_is_read_too() {
        let (plan, server) =
            class(&[("baoAddress", "http://bao:8200"), ("objects", "- {objectName: a, secretPath: b/c}")]).unwrap();
        assert_eq!((server.address.as_deref(), plan.role.as_str()), (Some("http://bao:8200"), ""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (objects, words) in [
            ("", "names none"),
            ("x", "YAML list"),
            ("- {objectName: a}", "objects[0]: give secretPath"),
            ("- {secretPath: a/b}", "give objectName"),
            ("- {objectName: ../a, secretPath: a/b}", "start with .."),
            ("- {objectName: a, secretPath: a/b, method: DELETE}", "GET or PUT"),
            ("- {objectName: a, secretPath: a/b, encoding: rot13}", "utf-8, base64 or hex"),
            ("- {objectName: a, secretPath: a/b, filePermission: 9}", ""),
            ("- {objectName: a, secretPath: a/b, secretkey: x}", "did you mean secretKey"),
            ("- {objectName: a, secretPath: a/b}\n- {objectName: a, secretPath: a/c}", "named twice"),
        ] {
            match class(&[("objects", objects)]) {
                Err(failure) => assert!(failure.to_string().contains(words), "{objects}: {failure}"),
                Ok(_) => assert!(words.is_empty(), "{objects}"),
            }
        }
        let both = [
            ("vaultAuthMountPath", "a"),
            ("vaultKubernetesMountPath", "b"),
            ("objects", "- {objectName: a, secretPath: b/c}"),
        ];
        assert!(class(&both).unwrap_err().to_string().contains("exclude each other"));
        let half = [("vaultTLSClientKeyPath", "/k"), ("objects", "- {objectName: a, secretPath: b/c}")];
        assert!(class(&half).unwrap_err().to_string().contains("needed together"));
    }
}
