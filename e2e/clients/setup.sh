#!/bin/bash
# Puts the client programs of this folder where server/tests/clients.rs looks for them: below $HOLDFAST_CACHE/clients.
#   setup.sh             Python with hvac, node-vault, and the Go and vaultrs programs, built
# Idempotent; what is there is left alone unless its versions here have changed.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/../cluster/env.sh"
OUT=$CACHE/clients; mkdir -p "$OUT"
need() { command -v "$1" >/dev/null || { echo "Please install $2: the tests run a client of the server with it." >&2; exit 1; }; }
need python3 "Python 3 with venv"; need node "Node.js 18 or later"; need npm npm; need go "Go 1.25 or later"; need cargo Rust

# Done before, with these very files?
fresh() { cmp -s "$1" "$2"; }

if ! fresh "$HERE/hvac/requirements.txt" "$CACHE/venv/requirements.txt"; then
  step "installing the Python clients"
  [ -x "$CACHE/venv/bin/python" ] || python3 -m venv "$CACHE/venv"
  "$CACHE/venv/bin/pip" install -q --disable-pip-version-check -r "$HERE/hvac/requirements.txt"
  cp "$HERE/hvac/requirements.txt" "$CACHE/venv/requirements.txt"
fi
if ! fresh "$HERE/node-vault/package.json" "$OUT/node-vault/package.json"; then
  step "installing node-vault"
  rm -rf "$OUT/node-vault"; rm -rf "$OUT/node-vault.new"; mkdir "$OUT/node-vault.new"
  cp "$HERE/node-vault/package.json" "$OUT/node-vault.new/"
  (cd "$OUT/node-vault.new" && npm install --no-package-lock --no-audit --no-fund --silent)
  mv "$OUT/node-vault.new" "$OUT/node-vault"
fi
step "building the Go client"
(cd "$HERE/go" && CGO_ENABLED=0 go build -buildvcs=false -o "$OUT/go-client" .)
step "building the vaultrs client"
# Its own workspace, and so its own settings: none of ours from the environment.
(cd "$HERE/vaultrs" && env -u CARGO_RESOLVER_FEATURE_UNIFICATION -u CARGO_UNSTABLE_FEATURE_UNIFICATION \
  CARGO_TARGET_DIR="$CARGO_TARGET_DIR/clients" cargo build -q --locked)
if (cd "$HERE/vaultrs" && cargo tree --locked -e normal --prefix none) | grep -qE '^(openssl-sys|ring) '; then
  echo "the vaultrs client has come to depend on OpenSSL or ring" >&2; exit 1
fi
built=$(find "$CARGO_TARGET_DIR/clients" -path '*debug/holdfast-client-vaultrs' -type f | head -1)
cp "$built" "$OUT/vaultrs-client"
