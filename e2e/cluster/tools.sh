#!/bin/bash
# Puts what the tests need on this machine: Debian packages (as root), kind, helm, kubectl, csi-sanity, etcd.
# What is on PATH is used; the rest is built from its Go module into the cache.
# use: tools.sh [unit|cluster]          unit: what `cargo test` needs; cluster (default): that and what the cluster needs
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
WHAT=${1:-cluster}

missing=()
need() { # COMMAND-OR-FILE PACKAGE
  compgen -G "$1" >/dev/null || command -v "$1" >/dev/null || missing+=("$2")
}
need '/usr/lib/postgresql/*/bin/postgres' postgresql
need gcc gcc; need make make; need python3 python3; need python3 python3-venv; need curl curl; need jq jq; need git git
if [ "$WHAT" = cluster ]; then
  docker version >/dev/null 2>&1 || { need dockerd docker.io; need debootstrap debootstrap; }
  need iptables iptables
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Please install: ${missing[*]} (Debian names), then run this again." >&2; exit 1
  fi
  step "packages: ${missing[*]}"
  apt-get update -q >"$CACHE/apt.log" 2>&1
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >>"$CACHE/apt.log" 2>&1 || { tail -20 "$CACHE/apt.log" >&2; exit 1; }
fi
command -v cargo >/dev/null || { echo "Please install Rust ($(sed -n 's/^channel = //p' "$HERE/../../rust-toolchain.toml")) with rustup." >&2; exit 1; }
command -v go >/dev/null || { echo "Please install Go 1.25 or later: etcd, kind and helm are built from their modules where they are not on PATH." >&2; exit 1; }

build() { # NAME PACKAGE@VERSION: into the cache, unless a command of that name is there
  command -v "$1" >/dev/null && return
  step "building $1"
  GOBIN=$CACHE/bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install "$2" || { echo "could not build $1 from $2" >&2; exit 1; }
}
if [ ! -x "$CACHE/bin/etcd" ]; then
  step "building etcd $ETCD"
  (cd "$HERE/etcd" && CGO_ENABLED=0 go build -buildvcs=false -ldflags "-s -w" -o "$CACHE/bin/etcd" .)
fi
if [ ! -x "$CACHE/bin/kubernetes" ] && ! command -v kube-apiserver >/dev/null; then # the operator's test runs an API server
  step "building kube-apiserver $KUBERNETES"
  V=k8s.io/component-base/version
  (cd "$HERE/kubernetes" && CGO_ENABLED=0 go build -buildvcs=false -ldflags "-s -w -X $V.gitVersion=$KUBERNETES -X $V.gitMajor=1 -X $V.gitMinor=35 -X $V.gitTreeState=clean" -o "$CACHE/bin/kubernetes" .)
fi
if [ ! -x "$CACHE/bin/etcd-3.4" ] && command -v apt-get >/dev/null; then # a test wants one that is refused
  step "fetching Debian's etcd"
  (T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; cd "$T"; apt-get download etcd-server >/dev/null 2>&1 || { apt-get update -q >/dev/null 2>&1; apt-get download etcd-server >/dev/null 2>&1; }
   dpkg -x etcd-server_*.deb . && install -m 755 usr/bin/etcd "$CACHE/bin/etcd-3.4") || { echo "could not fetch etcd-server from Debian" >&2; exit 1; }
fi
build csi-sanity github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@$CSI_SANITY
[ "$WHAT" = cluster ] || exit 0
build kind sigs.k8s.io/kind@$KIND
build helm helm.sh/helm/v4/cmd/helm@$HELM
