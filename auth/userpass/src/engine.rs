//! The paths of the method and what serves them.

use async_trait::async_trait;
use holdfast_logical::{
    Auth, Backend, Connection, Error, Field, Grant, Kind, Operation, PathTable, Request, Response, Row, Services, fold,
    with_token_fields,
};

use crate::password::Bcrypt;

/// A mount of the method.
pub(crate) struct UserPass {
    pub services: Services,
    pub bcrypt: Bcrypt,
}

const USERNAME: Field = Field::name("username", "Name; upper case counts as lower case.");
const PASSWORD: Field = Field::sensitive("password", Kind::String, "Password, up to 72 bytes.");
const HASH: Field = Field::sensitive("password_hash", Kind::String, "bcrypt hash, instead of the password.");

const USER: [Field; 18] = with_token_fields(&[USERNAME, PASSWORD, HASH]);

static PATHS: &PathTable = &[
    Row {
        id: "users",
        pattern: "users",
        operations: &[Operation::List],
        fields: &[],
        auth: Auth::Token,
        help: "Names of the users.",
    },
    Row {
        id: "user",
        pattern: "users/:username",
        operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete],
        fields: &USER,
        auth: Auth::Token,
        help: "A user: password, and what the tokens are like.",
    },
    Row {
        id: "password",
        pattern: "users/:username/password",
        operations: &[Operation::Update],
        fields: &[USERNAME, PASSWORD, HASH],
        auth: Auth::Token,
        help: "Changes the password of a user.",
    },
    Row {
        id: "policies",
        pattern: "users/:username/policies",
        operations: &[Operation::Update],
        fields: &[
            USERNAME,
            Field::new("token_policies", Kind::StringList, "Policies of tokens."),
            Field::new("policies", Kind::StringList, "Old name of token_policies."),
        ],
        auth: Auth::Token,
        help: "Changes the policies of a user: tokens with the old ones are not renewed any more.",
    },
    Row {
        id: "login",
        pattern: "login/:username",
        operations: &[Operation::Update],
        fields: &[USERNAME, Field::sensitive("password", Kind::String, "Password.")],
        auth: Auth::None,
        help: "Changes a user name and a password into a token.",
    },
];

impl UserPass {
    pub fn new(services: Services) -> Self {
        Self { services, bcrypt: Bcrypt::new() }
    }
}

#[async_trait]
impl Backend for UserPass {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let fields = &request.fields;
        let name = fold(fields.string("username").unwrap_or_default());
        match (request.route, request.operation) {
            ("users", _) => self.list_users().await,
            ("user", Operation::Read) => self.read_user(&name).await,
            ("user", Operation::Delete) => self.delete_user(&name).await,
            ("user", _) => self.write_user(&name, fields).await,
            ("password", _) => self.write_password(&name, fields).await,
            ("policies", _) => self.write_policies(&name, fields).await,
            ("login", _) => self.login(&name, &request).await,
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match (request.route, request.fields.string("username")) {
            ("user", Some(name)) => Ok(Some(self.user(&fold(name)).await?.is_some())),
            _ => Ok(None),
        }
    }

    async fn login_alias(&self, request: &Request) -> Result<Option<String>, Error> {
        let name = request.fields.string("username").filter(|_| request.route == "login");
        Ok(name.map(fold))
    }

    async fn knows_alias(&self, alias: &str) -> Result<bool, Error> {
        Ok(self.user(alias).await?.is_some())
    }

    async fn renew_grant(&self, grant: Grant, _connection: &Connection) -> Result<Grant, Error> {
        self.renew(grant).await
    }
}
