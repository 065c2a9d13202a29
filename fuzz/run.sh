#!/bin/bash
# Runs the fuzz targets, each for SECONDS seconds (60), with the toolchain of the repository: no nightly is needed, but
# then there is no sanitizer either, and none is missed, as there is no unsafe code of ours.
#   make fuzz SECONDS=n; TARGETS="hcl path" for some only
# What is found is in fuzz/artifacts/<target>; run it again with: cargo fuzz run -s none --dev <target> <file>
set -euo pipefail
cd "$(dirname "$0")"
. ../e2e/cluster/env.sh
each=${SECONDS_EACH:-60}
if ! command -v c++ >/dev/null; then # libFuzzer is built with it
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "Please install a C++ compiler (g++), then run this again." >&2; exit 1; }
  step "packages: g++"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends g++; } >"$CACHE/apt.log" 2>&1 || { tail -20 "$CACHE/apt.log" >&2; exit 1; }
fi
if ! command -v cargo-fuzz >/dev/null; then
  step "building cargo-fuzz $CARGO_FUZZ"
  cargo install -q cargo-fuzz --version "$CARGO_FUZZ" --locked --root "$CACHE"
fi
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$CARGO_TARGET_DIR/fuzz
unset CARGO_RESOLVER_FEATURE_UNIFICATION CARGO_UNSTABLE_FEATURE_UNIFICATION
cargo fuzz build -s none --dev
built=$CARGO_TARGET_DIR/$(rustc -vV | sed -n 's/^host: //p')/debug
for target in ${TARGETS:-$(cargo fuzz list)}; do
  echo "=== $target ($each s)"
  mkdir -p "corpus/$target" "seeds/$target" "artifacts/$target"
  # New inputs go to corpus (not checked in), the small ones in seeds are where it starts.
  "$built/$target" "corpus/$target" "seeds/$target" -artifact_prefix="artifacts/$target/" \
    -max_total_time="$each" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>&1 | grep -vE '^(#|INFO|\s+NEW_FUNC)' || {
      echo "$target failed" >&2; exit 1; }
done
