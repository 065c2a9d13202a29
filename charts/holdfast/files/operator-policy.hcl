# What the operator may do: everything below k8s/, the policies and roles of namespaces, and the bindings of pods and
# objects. Whoever controls the operator can write a k8s: policy with any content: it is as trusted as an administrator.
path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/k8s/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/k8s:*" { capabilities = ["create", "read", "update", "delete"] }
path "auth/kubernetes/role" { capabilities = ["list"] }
path "auth/kubernetes/role/k8s:*" { capabilities = ["create", "read", "update", "delete"] }
path "k8s/+/+/config" { capabilities = ["create", "read", "update", "delete", "list"] }
path "k8s/+/+/config/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "k8s/+/+/roles" { capabilities = ["list"] }
path "k8s/+/+/roles/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "k8s/+/+/rotate-root/*" { capabilities = ["create", "update"] }
path "k8s/+/+/creds/*" { capabilities = ["read"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/revoke-prefix/k8s/*" { capabilities = ["update", "sudo"] }
path "sys/leases/revoke-force/k8s/*" { capabilities = ["update", "sudo"] }
path "sys/leases/lookup/k8s/*" { capabilities = ["list", "sudo"] }
path "sys/bindings" { capabilities = ["list"] }
path "sys/bindings/*" { capabilities = ["create", "read", "update", "delete", "list"] }
