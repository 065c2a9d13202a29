//! The paths of the method and what serves them.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_logical::{
    Auth, Backend, Connection, Error, Field, Grant, Kind, Operation, PathTable, Request, Response, Row, Services, fold,
    with_token_fields,
};

use crate::{Local, api::Api, keys::Keys};

/// A mount of the method.
pub(crate) struct Kubernetes {
    pub services: Services,
    pub local: Local,
    pub api: Api,
    pub keys: Keys,
}

const NAME: Field = Field::name("name", "Name of the role.");

const ROLE_FIELDS: [Field; 22] = with_token_fields(&[
    NAME,
    Field::new("bound_service_account_names", Kind::StringList, "Accounts that may log in; `*`: all."),
    Field::new("bound_service_account_namespaces", Kind::StringList, "Namespaces they are in; `*`: all."),
    Field::new("bound_service_account_namespace_selector", Kind::String, "Not supported: name namespaces."),
    Field::new("audience", Kind::String, "Audience that tokens must have."),
    Field::new("alias_name_source", Kind::String, "`serviceaccount_uid` or `serviceaccount_name`."),
    Field::new("token_review", Kind::Bool, "Ask the API server whether the token is still good."),
]);

static PATHS: &PathTable = &[
    Row {
        id: "config",
        pattern: "config",
        operations: &[Operation::Read, Operation::Update],
        fields: &[
            Field::new("kubernetes_host", Kind::String, "URL of the API server; in a cluster: its own."),
            Field::new("kubernetes_ca_cert", Kind::String, "PEM of its CA; in a cluster: the one of the pod."),
            Field::sensitive("token_reviewer_jwt", Kind::String, "Token for TokenReview and keys; else the pod's."),
            Field::new(
                "pem_keys",
                Kind::StringList,
                "Public keys (PEM) that tokens are checked with; else the cluster's.",
            ),
            Field::new("disable_local_ca_jwt", Kind::Bool, "Do not use CA and token of the pod."),
            Field::new("disable_iss_validation", Kind::Bool, "Do not check the issuer (true)."),
            Field::new("issuer", Kind::String, "Issuer that tokens must have."),
            Field::new("use_annotations_as_alias_metadata", Kind::Bool, "Kept; has no effect yet."),
        ],
        auth: Auth::Token,
        help: "Which cluster, and how to reach it.",
    },
    Row {
        id: "roles",
        pattern: "role",
        operations: &[Operation::List],
        fields: &[],
        auth: Auth::Token,
        help: "Names of the roles.",
    },
    Row {
        id: "role",
        pattern: "role/:name",
        operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete],
        fields: &ROLE_FIELDS,
        auth: Auth::Token,
        help: "A role: which accounts, and what their tokens are like.",
    },
    Row {
        id: "login",
        pattern: "login",
        operations: &[Operation::Update],
        fields: &[
            Field::new("role", Kind::String, "Role; none: the one made for the account."),
            Field::sensitive("jwt", Kind::String, "ServiceAccount token."),
        ],
        auth: Auth::None,
        help: "Changes a ServiceAccount token into a token of this server.",
    },
];

impl Kubernetes {
    pub fn new(services: Services, local: Local) -> Self {
        let keys = Keys::new(Arc::clone(&services.clock));
        Self { services, local, api: Api::default(), keys }
    }
}

#[async_trait]
impl Backend for Kubernetes {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let name = fold(request.fields.string("name").unwrap_or_default());
        let fields = &request.fields;
        match (request.route, request.operation) {
            ("config", Operation::Read) => self.read_config().await,
            ("config", _) => self.write_config(fields).await,
            ("roles", _) => Response::keys(self.services.view.list("role/", "", 0).await?),
            ("role", Operation::Read) => self.read_role(&name).await,
            ("role", Operation::Delete) => self.delete_role(&name).await,
            ("role", _) => self.write_role(&name, fields).await,
            ("login", _) => self.login(fields).await,
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match (request.route, request.fields.string("name")) {
            ("role", Some(name)) => Ok(Some(self.role(&fold(name)).await?.is_some())),
            _ => Ok(None),
        }
    }

    async fn renew_grant(&self, grant: Grant, _connection: &Connection) -> Result<Grant, Error> {
        self.renew(grant).await
    }
}
