//! Why the agent ends, as an exit code and as a text for `kubectl describe`.

use holdfast_client::{Error as ClientError, advice};

/// Classes of failures, with the exit code of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The configuration is wrong.
    Config,
    /// The login was refused.
    Auth,
    /// A path may not be read.
    Denied,
    /// There is nothing at a path.
    NotFound,
    /// The server was not reached, is sealed or fails.
    Away,
    /// A template fails, or a file cannot be written.
    Template,
}

/// A failure with all that a person needs to repair it. Holds no secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Which kind.
    pub class: Class,
    /// One or two sentences.
    pub text: String,
}

/// Who is logged in: for messages.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// By the kubernetes method: advice is about VaultPolicies.
    pub kubernetes: bool,
    /// The role asked for; may be empty.
    pub role: String,
    /// `namespace/name`, if the token says so.
    pub service_account: String,
    /// Policies of the login.
    pub policies: Vec<String>,
    /// The server knows whose pod it is: credentials are the pod's.
    pub pod: bool,
}

impl Class {
    /// That of an exit code.
    pub fn of(code: u8) -> Self {
        let all = [Self::Config, Self::Auth, Self::Denied, Self::NotFound, Self::Template];
        all.into_iter().find(|class| class.exit_code() == code).unwrap_or(Self::Away)
    }

    /// Exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config => 2,
            Self::Auth => 3,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::Away => 6,
            Self::Template => 7,
        }
    }
}

impl Failure {
    /// A failure in its own words.
    pub fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    /// The server refused the login, or was not there for it.
    pub fn login(error: &ClientError, mount: &str, who: &Who) -> Self {
        let role = if !who.kubernetes {
            format!("role {:?}", who.role)
        } else if who.role.is_empty() {
            format!("the role of service account {}", who.service_account)
        } else {
            format!("role {:?} (service account {})", who.role, who.service_account)
        };
        if error.is_transient() || error.status().is_none() {
            return Self::new(Class::Away, format!("login at auth/{mount} as {role}: {error}"));
        }
        let said = error.to_string();
        if !who.kubernetes {
            return Self::new(Class::Auth, format!("login at auth/{mount} as {role} was refused: {said}"));
        }
        // Where the server has said it already, once is enough.
        let asked = match (said.contains("VaultPolicy"), who.role.is_empty()) {
            (true, _) => "Try: kubectl get vaultpolicies",
            (false, true) => "Is there a VaultPolicy with this service account among its subjects?",
            (false, false) => {
                "Is there a VaultPolicy with this service account among its subjects, and is the role spelt right?"
            }
        };
        Self::new(
            Class::Auth,
            format!("login at auth/{mount} as {role} was refused: {}. {asked}", said.trim_end_matches(['.', '?'])),
        )
    }

    /// A read of `path` for `item` failed.
    pub fn read(error: &ClientError, item: &str, path: &str, who: &Who) -> Self {
        match error {
            ClientError::Status { status: 403, errors, .. } => {
                let role = if who.role.is_empty() { String::new() } else { format!(" as role {:?}", who.role) };
                let own: Vec<_> = errors.iter().filter(|text| !text.contains("permission denied")).cloned().collect();
                let server = if own.is_empty() {
                    format!("No rule of policies [{}] grants read on that path.", who.policies.join(" "))
                } else {
                    format!("{}.", own.join("; ").trim_end_matches('.'))
                };
                Self::new(
                    Class::Denied,
                    format!(
                        "{item}: permission denied reading {path}{role} (403). {server} {}",
                        advice::grant(&who.service_account, path)
                    ),
                )
            }
            ClientError::Status { status: 404, .. } => Self::absent(item, path),
            ClientError::Status { status: 400 | 405, .. } => {
                Self::new(Class::NotFound, format!("{item}: cannot read {path}: {error}"))
            }
            other => Self::new(Class::Away, format!("{item}: cannot read {path}: {other}")),
        }
    }

    /// There is nothing at `path`.
    pub fn absent(item: &str, path: &str) -> Self {
        Self::new(
            Class::NotFound,
            format!("{item}: nothing at {path} (404). Is the path complete (kv version 2 has data/ after the mount)?"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_who_where_and_what_to_do() {
        let error = ClientError::Status {
            status: 403,
            path: "k8s/shop/db/creds/readonly".to_owned(),
            errors: vec!["1 error occurred: permission denied".to_owned()],
        };
        let who = Who {
            kubernetes: true,
            role: "orders".to_owned(),
            service_account: "shop/orders".to_owned(),
            policies: vec!["default".to_owned(), "orders".to_owned()],
            pod: true,
        };
        let failure = Failure::read(&error, "db", "k8s/shop/db/creds/readonly", &who);
        assert_eq!(failure.class.exit_code(), 4);
        assert_eq!(
            failure.text,
            "db: permission denied reading k8s/shop/db/creds/readonly as role \"orders\" (403). No rule of policies \
             [default orders] grants read on that path. Grant it in a VaultPolicy of namespace shop: rules: [{path: \
             \"k8s/shop/db/creds/readonly\", capabilities: [read]}], subjects: [{serviceAccount: orders}]. What is \
             there: kubectl get vaultpolicies -n shop"
        );
    }

    #[test]
    fn a_refused_login_asks_for_a_policy_once() {
        let who = Who { kubernetes: true, service_account: "shop/orders".to_owned(), ..Who::default() };
        for said in
            ["missing role: no VaultPolicy that is Ready names it as a subject", "is there a VaultPolicy?", "no."]
        {
            let path = "auth/kubernetes/login".to_owned();
            let error = ClientError::Status { status: 400, path, errors: vec![said.to_owned()] };
            let failure = Failure::login(&error, "kubernetes", &who);
            assert_eq!(failure.text.matches("VaultPolicy").count(), 1, "{failure}");
            assert!(!failure.text.contains("?.") && !failure.text.contains(".."), "{failure}");
        }
    }
}
