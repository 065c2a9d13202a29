//! The paths below `identity/`.

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable,
    table::{named, row},
};

const ID: Field = Field::new("id", Kind::String, "Id.");
const NAME: Field = Field::name("name", "Name; its case does not matter.");
const METADATA: Field = Field::new("metadata", Kind::StringMap, "Keys with values, for people and templated policies.");
const POLICIES: Field = Field::new("policies", Kind::StringList, "Policies beside those of the token.");
const ACCESSOR: Field = Field::new("mount_accessor", Kind::String, "Accessor of the auth mount.");
const CANONICAL: Field = Field::new("canonical_id", Kind::String, "Id of the entity or group that it belongs to.");
const CUSTOM: Field = Field::new("custom_metadata", Kind::StringMap, "Keys with values, set by people.");

const ENTITY: &[Field] = &[
    ID,
    NAME,
    METADATA,
    POLICIES,
    Field::new("disabled", Kind::Bool, "Refuse its tokens, and logins by its aliases."),
];
const ALIAS: &[Field] =
    &[ID, NAME, CANONICAL, Field::new("entity_id", Kind::String, "Old name of canonical_id."), ACCESSOR, CUSTOM];
const GROUP: &[Field] = &[
    ID,
    NAME,
    Field::new("type", Kind::String, "internal: people say who is in it; external: an auth method does."),
    METADATA,
    POLICIES,
    Field::new("member_entity_ids", Kind::StringList, "Entities in an internal group."),
    Field::new("member_group_ids", Kind::StringList, "Groups in it."),
];
const GROUP_ALIAS: &[Field] = &[ID, NAME, CANONICAL, ACCESSOR];
const LOOKUP: &[Field] = &[
    ID,
    NAME,
    Field::new("alias_id", Kind::String, "Id of an alias."),
    Field::new("alias_name", Kind::String, "Name of an alias; with alias_mount_accessor."),
    Field::new("alias_mount_accessor", Kind::String, "Accessor of the mount of alias_name."),
];
const MERGE: &[Field] = &[
    Field::new("from_entity_ids", Kind::StringList, "Entities that go."),
    Field::new("to_entity_id", Kind::String, "The entity that stays."),
    Field::new("force", Kind::Bool, "Taken and not needed."),
    Field::new("conflicting_alias_ids_to_keep", Kind::StringList, "Of two aliases at one mount, the one that stays."),
];
const KEY_NAME: Field = Field::new("name", Kind::String, "Name of the key.");
const VERIFICATION: Field =
    Field::new("verification_ttl", Kind::Duration, "How long a retired key pair verifies. Default: 24h.");
const KEY: &[Field] = &[
    KEY_NAME,
    Field::new("rotation_period", Kind::Duration, "How often the key pair changes. Default: 24h."),
    VERIFICATION,
    Field::new("algorithm", Kind::String, "RS256 (default), RS384, RS512, ES256, ES384, ES512 or EdDSA."),
    Field::new("allowed_client_ids", Kind::StringList, "Roles that may use it, by client id; * is all. Default: none."),
];
const ROLE: &[Field] = &[
    Field::new("name", Kind::String, "Name of the role."),
    Field::new("key", Kind::String, "Named key that signs."),
    Field::new("template", Kind::String, "JSON of more claims, with {{identity…}} in it; may be in base64."),
    Field::new("client_id", Kind::String, "Audience of the tokens; made up unless given."),
    Field::new("ttl", Kind::Duration, "Life of the tokens. Default: 24h."),
];

/// First match wins.
pub(crate) const ROWS: &PathTable = &[
    row("entity", &[Update], ENTITY, Auth::Token, "Makes an entity, or changes the one of the id or name."),
    row("entity/id", &[List], &[], Auth::Token, "Ids of the entities."),
    row("entity/id/:id", &[Read, Update, Delete], ENTITY, Auth::Token, "An entity."),
    row("entity/name", &[List], &[], Auth::Token, "Names of the entities."),
    named("entity/name/:name", "entity/name/*name", &[Read, Update, Delete], ENTITY, "An entity."),
    row(
        "entity/batch-delete",
        &[Update],
        &[Field::new("entity_ids", Kind::StringList, "Ids.")],
        Auth::Token,
        "Removes entities.",
    ),
    row("entity/merge", &[Update], MERGE, Auth::Sudo, "Makes one entity of several."),
    row("entity-alias", &[Update], ALIAS, Auth::Token, "Makes the alias of an entity, or changes it."),
    row("entity-alias/id", &[List], &[], Auth::Token, "Ids of the aliases."),
    row("entity-alias/id/:id", &[Read, Update, Delete], ALIAS, Auth::Token, "The alias of an entity."),
    // Older names of the same.
    row("alias", &[Update], ALIAS, Auth::Token, "Old name of entity-alias."),
    row("alias/id", &[List], &[], Auth::Token, "Old name of entity-alias/id."),
    row("alias/id/:id", &[Read, Update, Delete], ALIAS, Auth::Token, "Old name of entity-alias/id/:id."),
    row("persona", &[Update], ALIAS, Auth::Token, "Old name of entity-alias."),
    row("persona/id", &[List], &[], Auth::Token, "Old name of entity-alias/id."),
    row("persona/id/:id", &[Read, Update, Delete], ALIAS, Auth::Token, "Old name of entity-alias/id/:id."),
    row("group", &[Update], GROUP, Auth::Token, "Makes a group, or changes the one of the id or name."),
    row("group/id", &[List], &[], Auth::Token, "Ids of the groups."),
    row("group/id/:id", &[Read, Update, Delete], GROUP, Auth::Token, "A group."),
    row("group/name", &[List], &[], Auth::Token, "Names of the groups."),
    named("group/name/:name", "group/name/*name", &[Read, Update, Delete], GROUP, "A group."),
    row("group-alias", &[Update], GROUP_ALIAS, Auth::Token, "Makes the alias of an external group, or changes it."),
    row("group-alias/id", &[List], &[], Auth::Token, "Ids of the aliases of groups."),
    row("group-alias/id/:id", &[Read, Update, Delete], GROUP_ALIAS, Auth::Token, "The alias of a group."),
    row("lookup/entity", &[Update], LOOKUP, Auth::Token, "An entity by id, name or alias; 204 if there is none."),
    row("lookup/group", &[Update], LOOKUP, Auth::Token, "A group by id, name or alias; 204 if there is none."),
    row(
        "oidc/config",
        &[Read, Update],
        &[Field::new("issuer", Kind::String, "https://host:port that tokens name; empty: the server's own address.")],
        Auth::Token,
        "Who issues identity tokens.",
    ),
    row("oidc/key", &[List], &[], Auth::Token, "Names of the keys."),
    row("oidc/key/:name", &[Read, Update, Delete], KEY, Auth::Token, "A key that signs identity tokens."),
    row("oidc/key/:name/rotate", &[Update], &[KEY_NAME, VERIFICATION], Auth::Token, "Changes the key pair now."),
    row("oidc/role", &[List], &[], Auth::Token, "Names of the roles."),
    row("oidc/role/:name", &[Read, Update, Delete], ROLE, Auth::Token, "What identity tokens say."),
    row(
        "oidc/token/:name",
        &[Read],
        &[Field::new("name", Kind::String, "Name of the role.")],
        Auth::Token,
        "An identity token for the caller.",
    ),
    row(
        "oidc/introspect",
        &[Update],
        &[
            Field::sensitive("token", Kind::String, "An identity token."),
            Field::new("client_id", Kind::String, "Audience that it must have."),
        ],
        Auth::Token,
        "Is an identity token good?",
    ),
    row("oidc/.well-known/openid-configuration", &[Read], &[], Auth::None, "Where the public keys are."),
    row("oidc/.well-known/keys", &[Read], &[], Auth::None, "Public keys that verify identity tokens."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_listed_twice_and_literals_come_before_captures() {
        for (at, row) in ROWS.iter().enumerate() {
            let example = row.pattern.replace([':', '*'], "");
            let first = ROWS.iter().position(|other| other.matches(&example).is_some());
            assert_eq!(first, Some(at), "{example}");
        }
    }
}
