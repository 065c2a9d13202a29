//! The paths of the method.

use holdfast_logical::{Auth, Field, Kind, Operation, PathTable, Row, table::named, with_token_fields};

const NAME: Field = Field::name("name", "Name of the role; upper case counts as lower case.");
const CRL: Field = Field::name("name", "Name of the revocation list.");

const CONFIG: &[Field] = &[
    Field::new("disable_binding", Kind::Bool, "Renew tokens without the certificate of their login (false)."),
    Field::new(
        "enable_identity_alias_metadata",
        Kind::Bool,
        "Does the alias in the identity store have the metadata of tokens too? (false)",
    ),
    Field::new("enable_metadata_on_failures", Kind::Bool, "Kept; failures tell nothing of the certificate."),
    Field::new("ocsp_cache_size", Kind::Int, "Kept; answers are not cached."),
    Field::new("role_cache_size", Kind::Int, "Kept; roles are cached by revision."),
];

const ROLE: [Field; 35] = with_token_fields(&[
    NAME,
    Field::new("certificate", Kind::String, "CA certificates, or one that is no CA, in PEM."),
    Field::new("allowed_names", Kind::StringList, "Names (`*`: anything), one of which CN, DNS or email must match."),
    Field::new("allowed_common_names", Kind::StringList, "Names, one of which the common name must match."),
    Field::new("allowed_dns_sans", Kind::StringList, "Names, one of which a DNS name must match."),
    Field::new("allowed_email_sans", Kind::StringList, "Names, one of which an email address must match."),
    Field::new("allowed_uri_sans", Kind::StringList, "Names, one of which a URI must match."),
    Field::new("allowed_organizational_units", Kind::StringList, "Names, one of which an OU must match."),
    Field::new("allowed_organization_units", Kind::StringList, "Old name of allowed_organizational_units."),
    Field::new("required_extensions", Kind::StringList, "Extensions: oid:value, or hex:oid:value."),
    Field::new("allowed_metadata_extensions", Kind::StringList, "Extensions (oid) that become metadata."),
    Field::new("display_name", Kind::String, "Name in audit; the role's by default."),
    Field::new("lease", Kind::Duration, "Old name of token_ttl."),
    Field::new("ocsp_enabled", Kind::Bool, "Ask OCSP responders at each login and renewal? (false)"),
    Field::new("ocsp_ca_certificates", Kind::String, "Certificates (PEM) that answers are trusted by too."),
    Field::new("ocsp_servers_override", Kind::StringList, "Responders instead of those in certificates."),
    Field::new("ocsp_fail_open", Kind::Bool, "Let in if no responder knows? (false)"),
    Field::new("ocsp_query_all_servers", Kind::Bool, "Must all responders say that it is good?"),
    Field::new("ocsp_this_update_max_age", Kind::Duration, "Oldest answer that counts; 0: any until its end."),
    Field::new("ocsp_max_retries", Kind::Int, "Times that a responder is asked again (4)."),
]);

const ALL: &[Operation] = &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete];

pub(crate) static PATHS: &PathTable = &[
    named("config", "config", &[Operation::Read, Operation::Update], CONFIG, "Settings of the whole method."),
    named("roles", "certs", &[Operation::List], &[], "Names of the roles."),
    named("role", "certs/:name", ALL, &ROLE, "A role: which certificates it takes, and what its tokens are like."),
    named("crls", "crls", &[Operation::List], &[], "Names of the revocation lists."),
    named(
        "crl",
        "crls/:name",
        &[Operation::Read, Operation::Update, Operation::Delete],
        &[
            CRL,
            Field::new("crl", Kind::String, "The list, in PEM or in base64 of DER."),
            Field::new("url", Kind::String, "Where it is fetched from, now and when it gets old."),
        ],
        "A revocation list: certificates in it are refused.",
    ),
    Row {
        id: "login",
        pattern: "login",
        operations: &[Operation::Update],
        fields: &[Field::name("name", "Role; none: the first one that takes the certificate.")],
        auth: Auth::None,
        help: "Gives a token for the client certificate of the connection.",
    },
];

#[cfg(test)]
mod tests {
    use holdfast_logical::table;

    use super::*;

    #[test]
    fn policies_see_the_names_that_are_read() {
        for (sent, read) in [("certs/WEB", "certs/web"), ("certs/\u{130}", "certs/i\u{307}"), ("crls/Ca", "crls/ca")] {
            let (row, _) = table::find(PATHS, sent).unwrap();
            assert_eq!(row.folded(sent).as_deref(), Some(read));
            assert_eq!(holdfast_logical::fold(sent), read);
        }
    }
}
