# What the CSI driver may do as itself: take back what belonged to a pod that is gone. It reads secrets only with the
# token of the pod that they are for.
path "sys/bindings/pod" { capabilities = ["list"] }
path "sys/bindings/pod/*" { capabilities = ["read", "list", "delete"] }
