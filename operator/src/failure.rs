//! Why an object is not ready, in the words that its condition and its event show.

use holdfast_client::Error as ServerError;

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// CamelCase word for the condition.
    pub reason: &'static str,
    /// For people: the server's words and what to do. Never holds a secret.
    pub message: String,
    /// What helps.
    pub remedy: Remedy,
}

/// What helps against a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A moment: something that this depends on is being worked on. No event is worth it.
    Soon,
    /// Waiting: the server or the API server is away. What was ready stays ready.
    Wait,
    /// Something else must change first (another object, a database); tried again with backoff.
    Elsewhere,
    /// The object itself must be changed.
    Edit,
}

impl Failure {
    /// The object itself must be changed.
    pub fn edit(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: Remedy::Edit }
    }

    /// Something that this depends on is being worked on.
    pub fn soon(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: Remedy::Soon }
    }

    /// Something else must change first.
    pub fn elsewhere(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: Remedy::Elsewhere }
    }

    /// What the server answered while `doing` something.
    pub fn server(doing: &str, error: &ServerError) -> Self {
        match error {
            ServerError::Unreachable { .. } => Self {
                reason: "ServerUnreachable",
                message: format!("{error} ({doing}); tried again until it answers"),
                remedy: Remedy::Wait,
            },
            // 503 is also what the server says when a database that it needs does not answer.
            ServerError::Status { status: 503, errors, .. } if is_sealed(errors) => Self {
                reason: "ServerSealed",
                message: format!("the server does not serve yet ({doing}): {}", words(errors, "sealed or starting")),
                remedy: Remedy::Wait,
            },
            ServerError::Status { status: 403, errors, path } => Self::elsewhere(
                "PermissionDenied",
                format!(
                    "{doing}: the server refuses the operator {path} (403): {}; the policy and role of the operator are \
                     made when the server is initialised",
                    words(errors, "permission denied")
                ),
            ),
            ServerError::Status { status, errors, path } => Self::elsewhere(
                "ServerRefused",
                format!("{doing}: {} ({path}, {status})", words(errors, "the server gives no reason")),
            ),
            ServerError::Config(reason) => {
                Self { reason: "OperatorMisconfigured", message: format!("{doing}: {reason}"), remedy: Remedy::Wait }
            }
            ServerError::Protocol { .. } => Self::elsewhere("ServerRefused", format!("{doing}: {error}")),
        }
    }

    /// What the Kubernetes API server answered while `doing` something.
    pub fn kubernetes(doing: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status)
                if (400..500).contains(&status.code) && status.code != 409 && status.code != 429 =>
            {
                Self::elsewhere("KubernetesRefused", format!("{doing}: {}", status.message))
            }
            kube::Error::Api(status) => {
                Self { reason: "KubernetesBusy", message: format!("{doing}: {}", status.message), remedy: Remedy::Wait }
            }
            other => {
                Self { reason: "KubernetesUnreachable", message: format!("{doing}: {other}"), remedy: Remedy::Wait }
            }
        }
    }
}

fn is_sealed(errors: &[String]) -> bool {
    errors.is_empty() || errors.iter().any(|error| error.contains("sealed") || error.contains("starting"))
}

fn words(errors: &[String], otherwise: &str) -> String {
    if errors.is_empty() { otherwise.to_owned() } else { errors.join("; ") }
}

/// Adds what was being done to an error.
pub trait While<T> {
    /// The failure of a step, named by what was being done.
    fn doing(self, doing: &str) -> Result<T, Failure>;
}

impl<T> While<T> for Result<T, ServerError> {
    fn doing(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::server(doing, &error))
    }
}

impl<T> While<T> for Result<T, kube::Error> {
    fn doing(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::kubernetes(doing, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_waited_for() {
        let error = ServerError::Unreachable { address: "https://x:8200".into(), reason: "refused".into() };
        let failure = Failure::server("mounting", &error);
        assert_eq!((failure.reason, failure.remedy), ("ServerUnreachable", Remedy::Wait));
        assert!(failure.message.contains("https://x:8200"), "{failure}");
    }

    #[test]
    fn the_servers_words_reach_the_user() {
        let error = ServerError::Status {
            status: 400,
            path: "k8s/shop/db/config/main".into(),
            errors: vec!["no pg_hba entry".into()],
        };
        let failure = Failure::server("configuring the database", &error);
        assert_eq!(failure.remedy, Remedy::Elsewhere);
        assert!(failure.message.starts_with("configuring the database: no pg_hba entry"), "{failure}");
    }
}
