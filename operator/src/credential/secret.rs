//! The Secret of a DynamicCredential: owned by the object, written by server-side apply, never somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use holdfast_crd_types::{DynamicCredential, SecretTarget, names};
use holdfast_secret::SecretString;
use holdfast_template::{NoSource, Options, Template};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    failure::{Failure, While},
};

/// What was found where the credential should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same; nothing was written.
    Same,
    /// Another credential, or nothing; written.
    Other,
    /// This credential, but changed by somebody, or the Secret was deleted; written again.
    Drifted,
}

/// The keys of the Secret: one for each field of the credential, or those of the template.
pub fn render(target: &SecretTarget, fields: &Map<String, Value>) -> Result<BTreeMap<String, SecretString>, Failure> {
    if target.template.is_empty() {
        return Ok(fields.iter().map(|(key, value)| (key.clone(), text(value))).collect());
    }
    let root = Value::Object(fields.clone());
    target
        .template
        .iter()
        .map(|(key, template)| {
            let refuse = |error: holdfast_template::Error| {
                let known: Vec<_> = fields.keys().map(|field| format!(".{field}")).collect();
                let message =
                    format!("spec.target.secret.template.{key}: {error}; the credential has {}", known.join(", "));
                Failure::edit("TemplateInvalid", message)
            };
            let template = parse(template).map_err(refuse)?;
            Ok((key.clone(), template.render(&root, &NoSource).map_err(refuse)?))
        })
        .collect()
}

/// A field that the credential lacks is an error, as it is for pods: "<no value>" for a password helps nobody.
fn parse(template: &str) -> Result<Template, holdfast_template::Error> {
    Template::parse_with(template, Options { error_on_missing_key: true, ..Options::default() })
}

fn text(value: &Value) -> SecretString {
    match value {
        Value::String(text) => SecretString::new(text.as_str()),
        other => SecretString::new(other.to_string()),
    }
}

/// Can the target be written, as far as that can be known before there is a credential? Nothing is made for a target that
/// is somebody else's, or for a template that cannot be read.
pub async fn check(ctx: &Context, owner: &DynamicCredential, target: &SecretTarget) -> Result<(), Failure> {
    for (key, template) in &target.template {
        parse(template)
            .map_err(|error| Failure::edit("TemplateInvalid", format!("spec.target.secret.template.{key}: {error}")))?;
    }
    let api: Api<Secret> = Api::namespaced(ctx.kube.clone(), &owner.namespace().unwrap_or_default());
    let found = api.get_opt(&target.name).await.doing("reading the target Secret")?;
    free(found.as_ref(), owner, target)
}

fn free(found: Option<&Secret>, owner: &DynamicCredential, target: &SecretTarget) -> Result<(), Failure> {
    let Some(secret) = found.filter(|secret| !owned(secret, owner) && !former(secret, owner)) else { return Ok(()) };
    let whose = secret.labels().get(names::LABEL_CREDENTIAL);
    let whose = whose.map_or_else(|| "not made by Holdfast".to_owned(), |name| format!("of DynamicCredential {name}"));
    let message =
        format!("Secret {} is there already and is {whose}; delete it, or name another in spec.target", target.name);
    Err(Failure::elsewhere("SecretConflict", message))
}

/// Makes the Secret hold this credential. `expected` is true when it has been written before.
pub async fn write(
    ctx: &Context,
    owner: &DynamicCredential,
    target: &SecretTarget,
    number: i64,
    content: &BTreeMap<String, SecretString>,
    expected: bool,
) -> Result<Found, Failure> {
    let api: Api<Secret> = Api::namespaced(ctx.kube.clone(), &owner.namespace().unwrap_or_default());
    let found = api.get_opt(&target.name).await.doing("reading the target Secret")?;
    free(found.as_ref(), owner, target)?;
    let state = state(found.as_ref(), number, content, expected);
    if state == Found::Same {
        return Ok(state);
    }
    let data: BTreeMap<&str, String> =
        content.iter().map(|(key, value)| (key.as_str(), BASE64.encode(value.expose()))).collect();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": target.name,
            "labels": { names::LABEL_MANAGED_BY: names::FIELD_MANAGER, names::LABEL_CREDENTIAL: owner.name_any() },
            "annotations": { names::ANNOTATION_CREDENTIAL_NUMBER: number.to_string() },
            "ownerReferences": [owner.controller_owner_ref(&())],
        },
        "type": "Opaque",
        "data": data,
    });
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch(&target.name, &params, &Patch::Apply(&body)).await.doing("writing the target Secret")?;
    Ok(state)
}

/// Deletes a Secret that is not the target any more, if it is this object's.
pub async fn delete(ctx: &Context, owner: &DynamicCredential, name: &str) -> Result<(), Failure> {
    let api: Api<Secret> = Api::namespaced(ctx.kube.clone(), &owner.namespace().unwrap_or_default());
    let Some(found) = api.get_opt(name).await.doing("reading the former target Secret")? else { return Ok(()) };
    if !owned(&found, owner) {
        return Ok(());
    }
    let preconditions = Preconditions { uid: found.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).doing("deleting the former target Secret"),
    }
}

fn owned(secret: &Secret, owner: &DynamicCredential) -> bool {
    secret.owner_references().iter().any(|reference| Some(&reference.uid) == owner.meta().uid.as_ref())
}

/// Left by an object of the same name that is gone: taken over, before or after the garbage collector sees it.
fn former(secret: &Secret, owner: &DynamicCredential) -> bool {
    let ours = secret.labels().get(names::LABEL_CREDENTIAL) == Some(&owner.name_any());
    ours && secret.owner_references().iter().all(|reference| reference.name == owner.name_any())
}

fn state(found: Option<&Secret>, number: i64, content: &BTreeMap<String, SecretString>, expected: bool) -> Found {
    let Some(secret) = found else { return if expected { Found::Drifted } else { Found::Other } };
    let stored = secret.annotations().get(names::ANNOTATION_CREDENTIAL_NUMBER);
    let data = secret.data.clone().unwrap_or_default();
    let names: BTreeSet<_> = data.keys().chain(content.keys()).collect();
    // Keys that others added stay theirs; ours must be ours.
    let same = names.iter().filter(|name| content.contains_key(**name)).all(|name| {
        let (ours, there) = (content.get(*name), data.get(*name));
        ours.is_some_and(|ours| there.is_some_and(|there| there.0 == ours.expose().as_bytes()))
    });
    match (stored == Some(&number.to_string()), same) {
        (true, true) => Found::Same,
        _ if expected => Found::Drifted,
        _ => Found::Other,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn fields() -> Map<String, Value> {
        let Value::Object(map) = json!({ "username": "v-1", "password": "p" }) else { return Map::new() };
        map
    }

    fn target(template: Value) -> SecretTarget {
        serde_json::from_value(json!({ "name": "s", "template": template })).unwrap()
    }

    #[test]
    fn without_a_template_every_field_is_a_key() {
        let content = render(&target(json!({})), &fields()).unwrap();
        assert_eq!(content["username"].expose(), "v-1");
        assert_eq!(content.len(), 2);
    }

    #[test]
    fn a_template_makes_the_keys_that_it_names() {
        let target = target(json!({ "DATABASE_URL": "postgresql://{{ .username }}:{{ .password }}@pg/orders" }));
        let content = render(&target, &fields()).unwrap();
        assert_eq!(content["DATABASE_URL"].expose(), "postgresql://v-1:p@pg/orders");
        assert_eq!(content.len(), 1);
    }

    #[test]
    fn a_template_that_cannot_be_read_is_named_by_its_key() {
        let failure = render(&target(json!({ "URL": "{{ .username" })), &fields()).unwrap_err();
        assert!(failure.message.contains("template.URL") && failure.message.contains(".username"), "{failure}");
    }

    #[test]
    fn a_field_that_the_credential_lacks_is_refused_with_those_it_has() {
        let failure = render(&target(json!({ "URL": "{{ .user }}" })), &fields()).unwrap_err();
        assert_eq!(failure.reason, "TemplateInvalid");
        assert!(failure.message.contains("\"user\"") && failure.message.contains(".username"), "{failure}");
    }

    #[test]
    fn a_secret_of_somebody_else_is_left_alone_and_one_of_a_former_object_taken_over() {
        let owner: DynamicCredential = serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential",
            "metadata": { "name": "orders-ro", "namespace": "shop", "uid": "new" },
            "spec": { "engineRef": { "name": "e" }, "role": "r" },
        }))
        .unwrap();
        let target = target(json!({}));
        let secret = |label: Value, uid: &str| -> Secret {
            let reference = json!({ "apiVersion": "x", "kind": "DynamicCredential", "name": "orders-ro", "uid": uid });
            serde_json::from_value(json!({ "metadata": { "labels": label, "ownerReferences": [reference] } })).unwrap()
        };
        assert!(free(None, &owner, &target).is_ok());
        assert!(free(Some(&secret(json!({}), "new")), &owner, &target).is_ok());
        assert!(free(Some(&secret(json!({ "holdfast.dev/credential": "orders-ro" }), "old")), &owner, &target).is_ok());
        let failure = free(Some(&secret(json!({}), "old")), &owner, &target).unwrap_err();
        assert_eq!(failure.reason, "SecretConflict");
        assert!(free(Some(&secret(json!({ "holdfast.dev/credential": "other" }), "old")), &owner, &target).is_err());
    }

    #[test]
    fn drift_is_told_from_the_first_write() {
        let content = render(&target(json!({})), &fields()).unwrap();
        let mut secret = Secret::default();
        assert_eq!(state(None, 1, &content, false), Found::Other);
        assert_eq!(state(None, 1, &content, true), Found::Drifted);
        secret.annotations_mut().insert(names::ANNOTATION_CREDENTIAL_NUMBER.to_owned(), "1".to_owned());
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        secret.data = Some([("username".to_owned(), bytes("v-1")), ("password".to_owned(), bytes("p"))].into());
        assert_eq!(state(Some(&secret), 1, &content, true), Found::Same);
        assert_eq!(state(Some(&secret), 2, &content, false), Found::Other);
        secret.data.as_mut().unwrap().insert("password".to_owned(), bytes("changed"));
        assert_eq!(state(Some(&secret), 1, &content, true), Found::Drifted);
    }
}
