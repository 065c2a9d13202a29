//! Login with a Kubernetes ServiceAccount token.
