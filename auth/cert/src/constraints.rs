//! What a role demands of a certificate beyond who issued it.

use std::collections::BTreeMap;

use holdfast_logical::{Error, glob};

use crate::{certificate::Certificate, role::Role};

/// Which demand the certificate does not meet; `None` if it meets all.
pub(crate) fn unmet(role: &Role, certificate: &Certificate) -> Option<&'static str> {
    let common_name = std::slice::from_ref(&certificate.common_name);
    let names: Vec<String> = [common_name, &certificate.dns, &certificate.emails].concat();
    [
        ("allowed_names", &role.allowed_names, names.as_slice()),
        ("allowed_common_names", &role.allowed_common_names, common_name),
        ("allowed_dns_sans", &role.allowed_dns_sans, &certificate.dns),
        ("allowed_email_sans", &role.allowed_email_sans, &certificate.emails),
        ("allowed_uri_sans", &role.allowed_uri_sans, &certificate.uris),
        ("allowed_organizational_units", &role.allowed_organizational_units, &certificate.units),
    ]
    .into_iter()
    .find(|(_, allowed, found)| !matches(allowed, found))
    .map(|(field, ..)| field)
    .or_else(|| {
        let all = role.required_extensions.iter().all(|required| has(certificate, required));
        (!all).then_some("required_extensions")
    })
}

/// Is one of the names among those that are allowed? Any is, if nothing is said.
fn matches(allowed: &[String], found: &[String]) -> bool {
    allowed.is_empty() || found.iter().any(|name| allowed.iter().any(|pattern| glob::matches(pattern, name)))
}

/// Has it the extension, with a value that matches? `oid:pattern`, or `hex:oid:value`.
fn has(certificate: &Certificate, required: &str) -> bool {
    let Some((hexadecimal, oid, wanted)) = split(required) else { return false };
    certificate.extensions.iter().filter(|extension| extension.oid == oid).any(|extension| match hexadecimal {
        true => hex::encode(&extension.value) == wanted.to_lowercase(),
        false => extension.text().is_some_and(|text| glob::matches(wanted, text)),
    })
}

fn split(required: &str) -> Option<(bool, &str, &str)> {
    let (hexadecimal, rest) = match required.strip_prefix("hex:") {
        Some(rest) => (true, rest),
        None => (false, required),
    };
    let (oid, wanted) = rest.split_once(':')?;
    is_oid(oid).then_some((hexadecimal, oid, wanted))
}

fn is_oid(text: &str) -> bool {
    text.contains('.') && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Refuses demands that cannot be read; one that is not understood must not be one that is not made.
pub(crate) fn check(role: &Role) -> Result<(), Error> {
    if let Some(wrong) = role.required_extensions.iter().find(|required| split(required).is_none()) {
        return Err(Error::Invalid(format!("required_extensions: {wrong:?} is not oid:value or hex:oid:value")));
    }
    if let Some(wrong) = role.allowed_metadata_extensions.iter().find(|oid| !is_oid(oid)) {
        return Err(Error::Invalid(format!("allowed_metadata_extensions: {wrong:?} is not an oid such as 1.2.3.4")));
    }
    Ok(())
}

/// Extensions that the role makes metadata of, by their oid with `-` for `.`.
pub(crate) fn metadata(role: &Role, certificate: &Certificate) -> BTreeMap<String, String> {
    let wanted = |oid: &String| role.allowed_metadata_extensions.contains(oid);
    certificate
        .extensions
        .iter()
        .filter(|extension| wanted(&extension.oid))
        .filter_map(|extension| Some((extension.oid.replace('.', "-"), extension.text()?.to_owned())))
        .collect()
}
