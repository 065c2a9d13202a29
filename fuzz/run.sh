#!/bin/bash
# Runs the fuzz targets, each for SECONDS seconds (60), with the toolchain of the repository: no nightly is needed, but
# then there is no sanitizer either, and none is missed, as there is no unsafe code of ours.
#   make fuzz SECONDS=n; TARGETS="hcl path" for some only
# What is found is in fuzz/artifacts/<target>; run it again with: cargo fuzz run -s none --dev <target> <file>
set -euo pipefail
cd "$(dirname "$0")"
each=${SECONDS_EACH:-60}
command -v cargo-fuzz >/dev/null || { echo "Please install cargo-fuzz: cargo install cargo-fuzz --locked" >&2; exit 1; }
command -v c++ >/dev/null || { echo "Please install a C++ compiler (g++): libFuzzer is built with it." >&2; exit 1; }
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/fuzz}
[ -n "$CARGO_TARGET_DIR" ] || unset CARGO_TARGET_DIR
unset CARGO_RESOLVER_FEATURE_UNIFICATION CARGO_UNSTABLE_FEATURE_UNIFICATION
cargo fuzz build -s none --dev
for target in ${TARGETS:-$(cargo fuzz list)}; do
  echo "=== $target ($each s)"
  mkdir -p "corpus/$target" "seeds/$target"
  # New inputs go to corpus (not checked in), the small ones in seeds are where it starts.
  cargo fuzz run -s none --dev "$target" "corpus/$target" "seeds/$target" -- \
    -max_total_time="$each" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>&1 | grep -vE '^(#|INFO|\s+NEW_FUNC)' || {
      echo "$target failed" >&2; exit 1; }
done
