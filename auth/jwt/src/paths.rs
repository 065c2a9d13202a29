//! The paths of the method.

use holdfast_logical::{Auth, Field, Kind, Operation, PathTable, Row, table::named, with_token_fields};

const NAME: Field = Field::name("name", "Name of the role; upper case counts as lower case.");

const CONFIG: &[Field] = &[
    Field::new("oidc_discovery_url", Kind::String, "Issuer whose keys are found by OpenID discovery."),
    Field::new("oidc_discovery_ca_pem", Kind::String, "CA of that host (PEM); none: those of the system."),
    Field::new("jwks_url", Kind::String, "URL of a JWK set, instead of discovery."),
    Field::new("jwks_ca_pem", Kind::String, "CA of that host (PEM); none: those of the system."),
    Field::new("jwt_validation_pubkeys", Kind::StringList, "Public keys (PEM), instead of any URL."),
    Field::new("bound_issuer", Kind::String, "The `iss` that tokens must have."),
    Field::new("jwt_supported_algs", Kind::StringList, "Algorithms that are taken; none: all that are supported."),
    Field::new("default_role", Kind::String, "Role of logins that name none."),
    Field::new("oidc_client_id", Kind::String, "Client id at the provider, for logins through a browser."),
    Field::sensitive("oidc_client_secret", Kind::String, "Client secret at the provider."),
    Field::new("oidc_response_mode", Kind::String, "`query` or `form_post`."),
    Field::new("oidc_response_types", Kind::StringList, "`code` or `id_token`."),
    Field::new("provider_config", Kind::Object, "Special handling of a provider; none is supported."),
    Field::new("namespace_in_state", Kind::Bool, "Is the namespace sent within `state`? (true)"),
];

const ROLE: [Field; 34] = with_token_fields(&[
    NAME,
    Field::new("role_type", Kind::String, "`jwt`, or `oidc` (default) for logins through a browser."),
    Field::new("user_claim", Kind::String, "Claim that says who it is: the name of the alias."),
    Field::new("user_claim_json_pointer", Kind::Bool, "Is user_claim a JSON pointer?"),
    Field::new("bound_audiences", Kind::StringList, "Audiences, one of which tokens must have."),
    Field::new("bound_subject", Kind::String, "The `sub` that tokens must have."),
    Field::new("bound_claims", Kind::Object, "Claims (or JSON pointers) and the values, one of which each must have."),
    Field::new("bound_claims_type", Kind::String, "`string`, or `glob` for values with `*`."),
    Field::new("groups_claim", Kind::String, "Claim (or JSON pointer) with the names of groups."),
    Field::new("claim_mappings", Kind::StringMap, "Claims (or JSON pointers) that become metadata, and its names."),
    Field::new("allowed_redirect_uris", Kind::StringList, "Where a browser may come back to."),
    Field::new("oidc_scopes", Kind::StringList, "Scopes beyond `openid`."),
    Field::new("clock_skew_leeway", Kind::Any, "How wrong clocks may be; 0: 60 s, -1: not at all."),
    Field::new("expiration_leeway", Kind::Any, "Life of tokens without `exp`; 0: 150 s, -1: none."),
    Field::new(
        "not_before_leeway",
        Kind::Any,
        "How long tokens without `nbf` and `iat` were good; 0: 150 s, -1: none.",
    ),
    Field::new("verbose_oidc_logging", Kind::Bool, "Kept; tokens are never logged."),
    Field::new("max_age", Kind::Duration, "Longest time since `auth_time`; 0: it is not looked at."),
    Field::new("callback_mode", Kind::String, "`client`; the others come with logins through a browser."),
    Field::new("bound_cidr_list", Kind::StringList, "Old name of token_bound_cidrs."),
]);

const ALL: &[Operation] = &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete];

const fn open(
    id: &'static str,
    pattern: &'static str,
    operations: &'static [Operation],
    fields: &'static [Field],
    help: &'static str,
) -> Row {
    Row { id, pattern, operations, fields, auth: Auth::None, help }
}

pub(crate) static PATHS: &PathTable = &[
    named("config", "config", &[Operation::Read, Operation::Update], CONFIG, "Whose tokens are taken."),
    named("roles", "role", &[Operation::List], &[], "Names of the roles."),
    named("role", "role/:name", ALL, &ROLE, "A role: which tokens it takes, and what the tokens it gives are like."),
    open(
        "login",
        "login",
        &[Operation::Update],
        &[
            Field::new("role", Kind::String, "Role; none: default_role."),
            Field::sensitive("jwt", Kind::String, "JSON Web Token."),
        ],
        "Changes a JSON Web Token into a token of this server.",
    ),
    open(
        "browser",
        "oidc/auth_url",
        &[Operation::Update],
        &[
            Field::new("role", Kind::String, "Role; none: default_role."),
            Field::new("redirect_uri", Kind::String, "Where the browser comes back to."),
            Field::new("client_nonce", Kind::String, "Nonce that the callback must bring again."),
        ],
        "Begins a login through a browser. Not supported yet.",
    ),
    open(
        "browser",
        "oidc/callback",
        &[Operation::Read, Operation::Update],
        &[
            Field::new("state", Kind::String, "As the provider gives it back."),
            Field::sensitive("code", Kind::String, "Authorization code of the provider."),
            Field::sensitive("id_token", Kind::String, "Token of the provider (form_post)."),
            Field::new("client_nonce", Kind::String, "Nonce of auth_url."),
            Field::new("error", Kind::String, "What the provider refused."),
            Field::new("error_description", Kind::String, "Why."),
        ],
        "Ends a login through a browser. Not supported yet.",
    ),
    open(
        "browser",
        "oidc/poll",
        &[Operation::Update],
        &[
            Field::new("state", Kind::String, "As auth_url gave it."),
            Field::new("client_nonce", Kind::String, "Nonce of auth_url."),
        ],
        "Asks whether a login through a browser has ended. Not supported yet.",
    ),
];
