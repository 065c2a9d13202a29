# What the CSI driver may do as itself: take back what belonged to a pod that is gone. It reads secrets only with the
# token of the pod that they are for.
path "sys/bindings/pod" { capabilities = ["list"] }
path "sys/bindings/pod/*" { capabilities = ["read", "list", "delete"] }
# And it hears which paths change, never what is there.
path "sys/events/subscribe/*" { capabilities = ["read"] }
path "*" {
  capabilities          = ["subscribe"]
  subscribe_event_types = ["kv-v1/*", "kv-v2/*"]
}
