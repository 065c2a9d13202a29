//! Names that operator, CSI driver, webhook, agent and server configuration share.

/// API group of the custom resources, and prefix of labels and annotations.
pub const GROUP: &str = "holdfast.dev";
/// Version of the custom resources.
pub const VERSION: &str = "v1alpha1";
/// Audience of every service account token that is shown to the server.
pub const AUDIENCE: &str = "holdfast";
/// Mount of the kubernetes auth method, without `auth/`.
pub const AUTH_MOUNT: &str = "kubernetes";
/// Name of the connection inside every database mount that a [`SecretEngine`](crate::SecretEngine) makes.
pub const DATABASE_CONFIG: &str = "main";
/// Name of the CSI driver.
pub const CSI_DRIVER: &str = "csi.holdfast.dev";
/// Binding kind of credentials that belong to a [`DynamicCredential`](crate::DynamicCredential) with a target.
pub const OWNER_DCRED: &str = "dcred";
/// Binding kind of credentials that belong to a pod.
pub const OWNER_POD: &str = "pod";

/// On every object with something on the server that must go first.
pub const FINALIZER: &str = "holdfast.dev/finalizer";
/// Field manager of the operator's server-side applies.
pub const FIELD_MANAGER: &str = "holdfast-operator";

/// Label of pods that the webhook has patched or that mount a Holdfast volume: `"true"`.
pub const LABEL_INJECTED: &str = "holdfast.dev/injected";
/// Label of what the operator makes.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label of a Secret: name of the DynamicCredential that writes it.
pub const LABEL_CREDENTIAL: &str = "holdfast.dev/credential";

/// Annotation of a DynamicCredential: any new value rotates the credential once.
pub const ANNOTATION_ROTATE: &str = "holdfast.dev/rotate";
/// Annotation of any custom resource: `"true"` makes the operator leave it alone (deletion still works).
pub const ANNOTATION_PAUSE: &str = "holdfast.dev/pause";
/// Annotation of a pod template: when and for which credential the operator restarted the workload.
pub const ANNOTATION_RESTARTED: &str = "holdfast.dev/restarted-for";
/// Annotation of a Secret: number of the credential in it.
pub const ANNOTATION_CREDENTIAL_NUMBER: &str = "holdfast.dev/credential-number";
/// Annotation of a pod: `"true"` asks for injection.
pub const ANNOTATION_INJECT: &str = "holdfast.dev/inject";
/// Annotation of a pod, set by the webhook: `injected`.
pub const ANNOTATION_STATUS: &str = "holdfast.dev/status";
/// Annotation of a pod: the role to log in with, usually the name of a VaultPolicy.
pub const ANNOTATION_ROLE: &str = "holdfast.dev/role";

/// Root of everything that a namespace's objects may mount or grant: `k8s/<namespace>/`.
pub fn namespace_prefix(namespace: &str) -> String {
    format!("k8s/{namespace}/")
}

/// Mount of a SecretEngine, without trailing slash: `k8s/<namespace>/<name>`.
pub fn mount_path(namespace: &str, engine: &str) -> String {
    format!("k8s/{namespace}/{engine}")
}

/// Where the credentials of a role are read: `k8s/<namespace>/<engine>/creds/<role>`.
pub fn credential_path(namespace: &str, engine: &str, role: &str) -> String {
    format!("{}/creds/{role}", mount_path(namespace, engine))
}

/// Policy of a VaultPolicy: `k8s:<namespace>:<name>`.
pub fn policy_name(namespace: &str, policy: &str) -> String {
    format!("k8s:{namespace}:{policy}")
}

/// Auth role of a VaultPolicy, bound to its subjects: `k8s:<namespace>:policy:<name>`.
pub fn policy_role(namespace: &str, policy: &str) -> String {
    format!("k8s:{namespace}:policy:{policy}")
}

/// Auth role of a service account, with all policies that name it: `k8s:<namespace>:sa:<service account>`.
pub fn service_account_role(namespace: &str, service_account: &str) -> String {
    format!("k8s:{namespace}:sa:{service_account}")
}

/// Owner of the credentials of a DynamicCredential: `dcred/<uid>`.
pub fn credential_owner(uid: &str) -> String {
    format!("{OWNER_DCRED}/{uid}")
}

/// Owner of the credentials of a pod: `pod/<uid>`.
pub fn pod_owner(uid: &str) -> String {
    format!("{OWNER_POD}/{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_server_resolves() {
        assert_eq!(credential_path("shop", "orders-db", "readonly"), "k8s/shop/orders-db/creds/readonly");
        assert_eq!(policy_name("shop", "orders"), "k8s:shop:orders");
        assert_eq!(policy_role("shop", "orders"), "k8s:shop:policy:orders");
        assert_eq!(service_account_role("shop", "orders"), "k8s:shop:sa:orders");
        assert_eq!(credential_owner("u-1"), "dcred/u-1");
    }
}
