# Everything, but what only the root token may do.
path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"] }
