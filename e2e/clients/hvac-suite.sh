#!/bin/bash
# hvac's own integration tests, unmodified, against our binary under the name `vault`.
#   hvac-suite.sh [pytest arguments]         e.g. -k test_kv_v2 -x
# The sdist is downloaded once; what is left out is in hvac/suite-deselected.txt, each with its reason. Only the client
# certificate is made anew with the suite's own script: the one in the sdist is over since 2026-11-18.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/../cluster/env.sh"
VERSION=2.4.0 SUITE=$CACHE/clients/hvac-suite
HOST=$(rustc -vV | sed -n 's/^host: //p')
BINARY=${HOLDFAST_BINARY:-$CARGO_TARGET_DIR/$HOST/debug/holdfast}
[ -x "$BINARY" ] || { echo "build the server first: cargo build -p holdfast-server ($BINARY is not there)" >&2; exit 1; }

if ! cmp -s "$HERE/hvac/suite-requirements.txt" "$SUITE/requirements.txt"; then
  step "downloading hvac $VERSION and what its tests need"
  rm -rf "$SUITE"; mkdir -p "$SUITE"
  python3 -m venv "$SUITE/venv"
  "$SUITE/venv/bin/pip" install -q --disable-pip-version-check -r "$HERE/hvac/suite-requirements.txt"
  "$SUITE/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary hvac -d "$SUITE" "hvac==$VERSION"
  tar xzf "$SUITE/hvac-$VERSION.tar.gz" -C "$SUITE"
  bash "$SUITE/hvac-$VERSION/tests/scripts/generate_test_cert.sh" 2>"$SUITE/openssl.log"
  cp "$HERE/hvac/suite-requirements.txt" "$SUITE/requirements.txt"
fi

mkdir -p "$SUITE/bin"; ln -sf "$BINARY" "$SUITE/bin/vault"
cd "$SUITE/hvac-$VERSION"
# In hvac's setup a test runs in a class of its own server; areas are named, what does not exist yet is not collected.
AREAS=(v1 api/system_backend api/secrets_engines/test_{kv_v1,kv_v2,identity}.py
  api/auth_methods/test_{approle,cert,jwt,kubernetes,oidc,token}.py)
deselected=()
while read -r test _; do deselected+=("--deselect=tests/integration_tests/$test"); done \
  < <(grep -v -e '^#' -e '^$' "$HERE/hvac/suite-deselected.txt")
PATH="$SUITE/bin:$PATH" "$SUITE/venv/bin/python" -m pytest -q -p no:cacheprovider -n "${HVAC_SUITE_SERVERS:-3}" --dist worksteal \
  --tb=short -rfE "${deselected[@]}" "$@" "${AREAS[@]/#/tests/integration_tests/}"
