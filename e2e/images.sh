#!/bin/bash
# Makes the images that demo and tests run, from binaries that are built already, and loads them into a kind cluster.
#   images.sh CLUSTER                PROFILE=debug (default; what the tests were built with) or release
# Every image is `FROM scratch` with one static binary, but PostgreSQL's, which stands for the user's database. An image
# whose content did not change is neither made nor loaded again.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/cluster/env.sh"
CLUSTER=$1 PROFILE=${PROFILE:-debug}
TARGET=${CARGO_TARGET_DIR:-$HERE/../target}/$(rustc -vV | sed -n 's/^host: //p')
REPO=holdfast.dev TAG=dev
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
changed=()

from_scratch() { # IMAGE BINARY NAME-IN-IMAGE
  local context=$WORK/$1; mkdir -p "$context/tmp"; chmod 1777 "$context/tmp"
  [ -x "$2" ] || { echo "$2 is not there: build it first (make build)" >&2; exit 1; }
  strip -o "$context/$3" "$2" 2>/dev/null || cp "$2" "$context/$3"; chmod 755 "$context/$3"
  local digest; digest=$(sha256sum "$context/$3" | cut -c1-16)
  if [ "$(docker image inspect -f '{{index .Config.Labels "dev.holdfast.content"}}' "$REPO/$1:$TAG" 2>/dev/null)" != "$digest" ]; then
    cat >"$context/Dockerfile" <<E2
FROM scratch
COPY $3 /$3
COPY --chown=65532:65532 tmp /tmp
USER 65532:65532
ENTRYPOINT ["/$3"]
LABEL dev.holdfast.content=$digest
E2
    docker build -q -t "$REPO/$1:$TAG" "$context" >/dev/null 2>"$context/log" || { cat "$context/log" >&2; exit 1; }
  fi
  changed+=("$REPO/$1:$TAG")
}

postgres() { # Debian's PostgreSQL in a Debian root file system
  local image=$REPO/postgres:$TAG tree=$CACHE/postgres.tar.gz
  if [ -n "${HOLDFAST_POSTGRES_IMAGE:-}" ]; then docker tag "$HOLDFAST_POSTGRES_IMAGE" "$image"; changed+=("$image"); return; fi
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    if [ ! -s "$tree" ]; then
      step "PostgreSQL root file system"
      local root=$CACHE/postgres-root; rm -rf "$root"
      debootstrap --variant=minbase --include=postgresql,ca-certificates trixie "$root" >"$CACHE/postgres.log" 2>&1 || { tail -5 "$CACHE/postgres.log" >&2; exit 1; }
      rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/* "$root"/var/lib/postgresql/*/main
      ln -s "$(cd "$root" && echo usr/lib/postgresql/*/bin)" "$root/pg"
      tar -C "$root" --one-file-system -c . | gzip -1 >"$tree.part" && mv "$tree.part" "$tree"; rm -rf "$root"
    fi
    docker import --change 'ENV PATH=/pg:/usr/local/bin:/usr/bin:/bin' "$tree" "$image" >/dev/null
  fi
  changed+=("$image")
}

for name in holdfast holdfast-operator; do from_scratch "$name" "$TARGET/$PROFILE/$name" "$name"; done
for name in holdfast-csi holdfast-webhook holdfast-agent; do from_scratch "$name" "$TARGET/${PROFILE/release/small}/$name" "$name"; done
from_scratch etcd "$CACHE/bin/etcd" etcd
postgres

# Loading is skipped for what all nodes have already: a note on each says which images of ours those are. (What only some
# lack goes to those.)
note=/var/lib/holdfast-images now='' load=()
mapfile -t nodes < <(kind get nodes -q --name "$CLUSTER")
declare -A have; for n in "${nodes[@]}"; do have[$n]=$(docker exec "$n" cat $note 2>/dev/null || true); done
for image in "${changed[@]}"; do
  line="$image $(docker image inspect -f '{{.Id}}' "$image")"; now+=$line$'\n'
  for n in "${nodes[@]}"; do
    grep -qxF "$line" <<<"${have[$n]}" || { load+=("$image"); break; }
  done
done
if [ ${#load[@]} -gt 0 ]; then
  "$HERE/cluster/cluster.sh" load "$CLUSTER" "${load[@]}"
  for n in "${nodes[@]}"; do docker exec -i "$n" sh -c "cat >$note" <<<"$now"; done
  printf 'loaded %s\n' "${load[@]}"
fi
