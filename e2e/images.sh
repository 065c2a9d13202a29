#!/bin/bash
# Makes the images that demo and tests run, from binaries that are built already, and loads them into a kind cluster.
#   images.sh CLUSTER [PROFILE]      PROFILE: debug (default; what the tests were built with) or release
# Every image is `FROM scratch` with one static binary, but PostgreSQL's, which stands for the user's database. An image
# whose content did not change is neither made nor loaded again.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/cluster/env.sh"
CLUSTER=$1 PROFILE=${2:-debug}
TARGET=${CARGO_TARGET_DIR:-$HERE/../target}/$(rustc -vV | sed -n 's/^host: //p')/$PROFILE
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
    docker build -q -t "$REPO/$1:$TAG" "$context" >/dev/null
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

for name in holdfast holdfast-operator holdfast-csi holdfast-webhook holdfast-agent; do
  from_scratch "$name" "$TARGET/$name" "$name"
done
from_scratch etcd "$CACHE/bin/etcd" etcd
postgres

# Loading is skipped for what the node has already, by image id.
node=$(kind get nodes --name "$CLUSTER" | head -1)
have=$(docker exec "$node" crictl images --no-trunc -o json 2>/dev/null | jq -r '.images[] | .id as $id | .repoTags[] | "\(.) \($id)"' || true)
load=()
for image in "${changed[@]}"; do
  id=$(docker image inspect -f '{{.Id}}' "$image")
  grep -qF "$image $id" <<<"$have" || load+=("$image")
done
[ ${#load[@]} = 0 ] || "$HERE/cluster/cluster.sh" load "$CLUSTER" "${load[@]}"
printf '%s\n' "${load[@]:-}" | sed '/^$/d; s/^/loaded /'
