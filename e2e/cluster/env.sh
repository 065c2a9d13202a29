# Sourced by the scripts beside it: where things are kept and which versions are used.
# Everything that takes long to make lives in one folder outside the checkout, so that only a new machine pays for it.
CACHE=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-e2e}
KUBERNETES=v1.35.4 COREDNS=v1.13.1 ETCD=3.6.14 PAUSE=3.10.1 KIND=v0.33.0 HELM=v4.3.1 CSI_SANITY=v5.6.0 CARGO_FUZZ=0.13.2
LOCAL_NODE_IMAGE=local/node:$KUBERNETES
PUBLIC_NODE_IMAGE=kindest/node:$KUBERNETES
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/target}   # as the Makefile says
export KUBECONFIG=${KUBECONFIG:-$CACHE/kubeconfig}
mkdir -p "$CACHE/bin"
export PATH="$CACHE/bin:$PATH:/usr/local/go/bin:$HOME/go/bin" DOCKER_BUILDKIT=0
step() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
