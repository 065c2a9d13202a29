//! The answer, and why.

/// What the policies say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// May it be done?
    pub allowed: bool,
    /// By the root policy?
    pub root: bool,
    /// Is `sudo` granted on the path? Paths that demand it need this *and* `allowed`.
    pub sudo: bool,
    /// Why.
    pub reason: Reason,
    /// Policies that grant the operation and the pattern of the stanza of each, for the audit log. Empty when denied.
    pub granting: Vec<(String, String)>,
    /// Most names that a list may answer with; `None`: all.
    pub page: Option<usize>,
}

/// Why a request is allowed or denied. Parameter names appear, values never do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The root policy.
    #[error("root may do everything")]
    Root,
    /// Help is always allowed.
    #[error("help is always allowed")]
    Help,
    /// The chosen stanza grants it.
    #[error("granted")]
    Granted,
    /// No pattern matches the path.
    #[error("no policy mentions the path")]
    NoMatch,
    /// The chosen stanza says `deny`.
    #[error("{pattern:?} denies it")]
    Denied {
        /// Pattern of the chosen stanza.
        pattern: String,
    },
    /// The chosen stanza lacks the capability.
    #[error("{pattern:?} does not grant {capability}")]
    Lacks {
        /// Pattern of the chosen stanza.
        pattern: String,
        /// What is missing.
        capability: &'static str,
    },
    /// The answer must be wrapped, with a TTL within bounds.
    #[error("{pattern:?} demands a wrapped answer with a TTL within its bounds")]
    Wrapping {
        /// Pattern of the chosen stanza.
        pattern: String,
    },
    /// The list must have a limit, of at most so many names.
    #[error("{pattern:?} lets lists name at most {most} at a time")]
    Page {
        /// Pattern of the chosen stanza.
        pattern: String,
        /// Its limit.
        most: usize,
    },
    /// A required parameter is missing.
    #[error("{pattern:?} requires the parameter {parameter:?}")]
    Required {
        /// Pattern of the chosen stanza.
        pattern: String,
        /// Its name.
        parameter: String,
    },
    /// A parameter, or its value, is denied or not allowed.
    #[error("{pattern:?} does not allow the parameter {parameter:?} or its value")]
    Parameter {
        /// Pattern of the chosen stanza.
        pattern: String,
        /// Its name.
        parameter: String,
    },
}

impl Decision {
    pub(crate) fn denied(reason: Reason, sudo: bool) -> Self {
        Self { allowed: false, root: false, sudo, reason, granting: Vec::new(), page: None }
    }
}
