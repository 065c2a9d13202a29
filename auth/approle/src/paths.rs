//! The paths of the method.

use holdfast_logical::{Auth, Field, Kind, Operation, PathTable, Row, table::named, with_token_fields};

const NAME: Field = Field::name("name", "Name of the role; upper case counts as lower case.");
const ROLE_ID: Field = Field::new("role_id", Kind::String, "Role id; a random one if none is given.");
const BIND: Field = Field::new("bind_secret_id", Kind::Bool, "Must logins bring a secret id? (true)");
const CIDRS: Field = Field::new("secret_id_bound_cidrs", Kind::StringList, "Networks that logins may come from.");
const OLD_CIDRS: Field = Field::new("bound_cidr_list", Kind::StringList, "Old name of secret_id_bound_cidrs.");
const USES: Field = Field::new("secret_id_num_uses", Kind::Int, "Logins of a secret id; 0: unlimited.");
const TTL: Field = Field::new("secret_id_ttl", Kind::Duration, "Life of a secret id; 0: no end.");
const LOCAL: Field = Field::new("local_secret_ids", Kind::Bool, "Kept and answered; set when the role is made.");
const SECRET_ID: Field = Field::sensitive("secret_id", Kind::String, "Secret id.");
const ACCESSOR: Field = Field::new("secret_id_accessor", Kind::String, "Accessor of a secret id.");

const ROLE: [Field; 23] = with_token_fields(&[NAME, ROLE_ID, BIND, CIDRS, OLD_CIDRS, USES, TTL, LOCAL]);

const SECRET_ID_FIELDS: &[Field] = &[
    NAME,
    SECRET_ID,
    Field::new("metadata", Kind::Any, "Metadata of the tokens: a JSON object of strings, as text."),
    Field::new("cidr_list", Kind::StringList, "Networks that logins may come from, within those of the role."),
    Field::new("token_bound_cidrs", Kind::StringList, "Networks of the tokens, within those of the role."),
    Field::new("num_uses", Kind::Int, "Logins; no more than the role's secret_id_num_uses."),
    Field::new("ttl", Kind::Duration, "Life; no longer than the role's secret_id_ttl."),
];

/// Single settings: id of the row (the last segment of its path) and fields, the new name first.
pub(crate) static SETTINGS: &[(&str, &[&str])] = &[
    ("policies", &["token_policies", "policies"]),
    ("bind-secret-id", &["bind_secret_id"]),
    ("bound-cidr-list", &["bound_cidr_list"]),
    ("secret-id-bound-cidrs", &["secret_id_bound_cidrs"]),
    ("secret-id-num-uses", &["secret_id_num_uses"]),
    ("secret-id-ttl", &["secret_id_ttl"]),
    ("token-bound-cidrs", &["token_bound_cidrs"]),
    ("token-num-uses", &["token_num_uses"]),
    ("token-ttl", &["token_ttl"]),
    ("token-max-ttl", &["token_max_ttl"]),
    ("period", &["token_period", "period"]),
    ("local-secret-ids", &["local_secret_ids"]),
];

const fn setting(id: &'static str, pattern: &'static str, fields: &'static [Field], help: &'static str) -> Row {
    Row {
        id,
        pattern,
        operations: &[Operation::Read, Operation::Update, Operation::Delete],
        fields,
        auth: Auth::Token,
        help,
    }
}

pub(crate) static PATHS: &PathTable = &[
    named("roles", "role", &[Operation::List], &[], "Names of the roles."),
    named("tidy", "tidy/secret-id", &[Operation::Update], &[], "Removes expired secret ids, in the background."),
    Row {
        id: "login",
        pattern: "login",
        operations: &[Operation::Update],
        fields: &[Field::new("role_id", Kind::String, "Role id."), SECRET_ID],
        auth: Auth::None,
        help: "Changes a role id and a secret id into a token.",
    },
    named(
        "role",
        "role/:name",
        &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete],
        &ROLE,
        "A role. Deleting it removes its secret ids.",
    ),
    named("role-id", "role/:name/role-id", &[Operation::Read, Operation::Update], &[NAME, ROLE_ID], "The role id."),
    named(
        "secret-id",
        "role/:name/secret-id",
        &[Operation::List, Operation::Update],
        SECRET_ID_FIELDS,
        "Makes a secret id; LIST names the accessors of all.",
    ),
    named(
        "custom-secret-id",
        "role/:name/custom-secret-id",
        &[Operation::Update],
        SECRET_ID_FIELDS,
        "Takes a secret id that was made elsewhere.",
    ),
    named(
        "lookup",
        "role/:name/secret-id/lookup",
        &[Operation::Update],
        &[NAME, SECRET_ID],
        "What is known of a secret id; 204 if there is none.",
    ),
    named(
        "destroy",
        "role/:name/secret-id/destroy",
        &[Operation::Update, Operation::Delete],
        &[NAME, SECRET_ID],
        "Destroys a secret id.",
    ),
    named(
        "lookup-accessor",
        "role/:name/secret-id-accessor/lookup",
        &[Operation::Update],
        &[NAME, ACCESSOR],
        "What is known of a secret id, by its accessor.",
    ),
    named(
        "destroy-accessor",
        "role/:name/secret-id-accessor/destroy",
        &[Operation::Update, Operation::Delete],
        &[NAME, ACCESSOR],
        "Destroys a secret id by its accessor.",
    ),
    setting(
        "policies",
        "role/:name/policies",
        &[
            NAME,
            Field::new("token_policies", Kind::StringList, "Policies of tokens."),
            Field::new("policies", Kind::StringList, "Old name of token_policies."),
        ],
        "Policies of tokens.",
    ),
    setting("bind-secret-id", "role/:name/bind-secret-id", &[NAME, BIND], "Must logins bring a secret id?"),
    setting("bound-cidr-list", "role/:name/bound-cidr-list", &[NAME, OLD_CIDRS], "Old name of secret-id-bound-cidrs."),
    setting("secret-id-bound-cidrs", "role/:name/secret-id-bound-cidrs", &[NAME, CIDRS], "Networks of logins."),
    setting("secret-id-num-uses", "role/:name/secret-id-num-uses", &[NAME, USES], "Logins of a secret id."),
    setting("secret-id-ttl", "role/:name/secret-id-ttl", &[NAME, TTL], "Life of a secret id."),
    setting(
        "token-bound-cidrs",
        "role/:name/token-bound-cidrs",
        &[NAME, Field::new("token_bound_cidrs", Kind::StringList, "Networks that tokens may be used from.")],
        "Networks of tokens.",
    ),
    setting(
        "token-num-uses",
        "role/:name/token-num-uses",
        &[NAME, Field::new("token_num_uses", Kind::Int, "Uses of a token; 0: unlimited.")],
        "Uses of a token.",
    ),
    setting(
        "token-ttl",
        "role/:name/token-ttl",
        &[NAME, Field::new("token_ttl", Kind::Duration, "First TTL of tokens; 0: the mount's.")],
        "First TTL of tokens.",
    ),
    setting(
        "token-max-ttl",
        "role/:name/token-max-ttl",
        &[NAME, Field::new("token_max_ttl", Kind::Duration, "Longest life of tokens; 0: the mount's.")],
        "Longest life of tokens.",
    ),
    setting(
        "period",
        "role/:name/period",
        &[
            NAME,
            Field::new("token_period", Kind::Duration, "Makes tokens periodic; 0: they are not."),
            Field::new("period", Kind::Duration, "Old name of token_period."),
        ],
        "Period of tokens.",
    ),
    named(
        "local-secret-ids",
        "role/:name/local-secret-ids",
        &[Operation::Read],
        &[NAME],
        "Was the role made with local_secret_ids?",
    ),
];
