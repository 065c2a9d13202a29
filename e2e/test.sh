#!/bin/bash
# Every test, in the order in which they fail fastest. Each stage prints its name and time.
#   test.sh [unit|cluster]       only the stages without, or only those with, a cluster
# The cluster has two workers (WORKERS=n); one with fewer, as make demo makes it, is made anew.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); cd "$HERE/.."; . "$HERE/cluster/env.sh"
WHAT=${1:-all}
export HOLDFAST_ETCD=$CACHE/bin/etcd
# A run of CI compiles once: what makes the next build faster would only fill its disk.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0
# And it judges a commit, so it draws the same cases for the same commit; elsewhere each run looks at others.
[ -z "${CI:-}" ] || export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261129}
started=$SECONDS
stage() { printf '\n=== %s (%d s)\n' "$1" $((SECONDS - started)); shift; "$@"; }
fresh() { # generated files are those that are checked in
  local out; out=$(mktemp -d); cargo run -q -p holdfast-operator -- crds --out "$out"
  diff -r "$out" crds && diff -r "$out" charts/holdfast/files/crds || { echo "run make crds and commit" >&2; return 1; }
}
merged() { ! git grep -nE '^(<<<<<<<|>>>>>>>)( |$)' || { echo "a merge is not finished" >&2; return 1; }; }
fuzzed() { # a workspace of its own, which nothing else here compiles; not optimised, so that dependencies are shared
  (cd fuzz && CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo check -q)
}
shipped() { # what we ship has no failpoints: without the feature neither names nor the variable are in it
  ! grep -qaE 'HOLDFAST_FAILPOINTS|lease\.create\.outside-done' "$(make -s path-of-holdfast)" || { echo "holdfast is built with failpoints" >&2; return 1; }
}
chart() {
  helm lint --strict charts/holdfast
  helm template holdfast charts/holdfast -n holdfast >/dev/null
  helm template holdfast charts/holdfast -n holdfast --set seal.type=shamir --set etcd.replicas=3 --set server.replicas=3 >/dev/null
  helm template holdfast charts/holdfast -n holdfast --set etcd.enabled=false --set 'externalEtcd.endpoints={https://etcd:2379}' --set externalEtcd.existingSecret=x >/dev/null
  if helm template holdfast charts/holdfast --set server.replicas=two >/dev/null 2>&1; then echo "the schema takes server.replicas=two" >&2; return 1; fi
}
if [ "$WHAT" != cluster ]; then
  stage "tools" "$HERE/cluster/tools.sh" unit
  stage "clients" "$HERE/clients/setup.sh"
  stage "no conflict markers" merged
  stage "formatting" cargo fmt --all --check
  stage "lints" cargo clippy --workspace --all-targets -- -D warnings
  stage "fuzz targets compile" fuzzed
  stage "unit and integration tests, csi-sanity" cargo test --workspace --exclude holdfast-e2e
  stage "hvac's own tests" "$HERE/clients/hvac-suite.sh"
  stage "arrows between crates" cargo test -p holdfast-e2e --test main arrows
fi
if [ "$WHAT" != unit ]; then
  stage "cluster tools" "$HERE/cluster/tools.sh" cluster
  stage "generated files" fresh
  stage "chart" chart
  stage "binaries" make build
  [ "${PROFILE:-debug}" = debug ] || stage "optimised binaries" make release
  stage "no failpoints in what we ship" shipped
  stage "secrets-store driver" "$HERE/cluster/secrets-store.sh" build
  stage "cluster" "$HERE/cluster/cluster.sh" up "${CLUSTER:-holdfast}" "${WORKERS:-2}"
  stage "images" "$HERE/images.sh" "${CLUSTER:-holdfast}"
  stage "end to end" cargo test -p holdfast-e2e --test main -- --test-threads=4 shared
  stage "end to end, one at a time" cargo test -p holdfast-e2e --test main -- --test-threads=1 exclusive
fi
printf '\n=== all stages passed in %d s\n' $((SECONDS - started))
