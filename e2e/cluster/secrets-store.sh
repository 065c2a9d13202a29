#!/bin/bash
# Installs the secrets-store driver (sigs.k8s.io/secrets-store-csi-driver) on a kind cluster: its program, kinds and roles
# from its Go module, and a small registrar in place of one that only a registry has. What is built is kept in the cache.
# use: secrets-store.sh build | CLUSTER | remove
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
IMAGE=holdfast.dev/secrets-store:dev MODULE=sigs.k8s.io/secrets-store-csi-driver
cd "$HERE/secrets-store"
deploy=$(go mod download -json $MODULE | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])')/deploy
files=("$deploy"/secrets-store.csi.x-k8s.io_secretproviderclass{es,podstatuses}.yaml "$deploy"/rbac-secretprovider{class,syncing}.yaml)
if [ "$1" = remove ]; then
  kubectl delete --ignore-not-found --timeout=60s -f driver.yaml; kubectl delete --ignore-not-found --timeout=60s $(printf -- '-f %s ' "${files[@]}")
  exit 0
fi
version=$(go list -m -f '{{.Version}}' $MODULE) out=$CACHE/secrets-store
if [ "$(cat "$out/version" 2>/dev/null)" != "$version" ]; then
  step "building the secrets-store driver $version"
  mkdir -p "$out"
  CGO_ENABLED=0 go build -buildvcs=false -ldflags '-s -w' -o "$out/secrets-store-csi-driver" $MODULE/cmd/secrets-store-csi-driver
  CGO_ENABLED=0 go build -buildvcs=false -ldflags '-s -w' -o "$out/registrar" .
  echo "$version" >"$out/version"
fi
[ "$1" != build ] || exit 0
# Its program runs mount and umount, which PostgreSQL's image has.
printf 'FROM holdfast.dev/postgres:dev\nCOPY secrets-store-csi-driver registrar /\n' >"$out/Dockerfile"
docker build -q -t $IMAGE "$out" >/dev/null 2>"$out/log" || { cat "$out/log" >&2; exit 1; }
id=$(docker image inspect -f '{{.Id}}' $IMAGE)
for node in $(kind get nodes -q --name "$1"); do
  docker exec "$node" crictl inspecti -q $IMAGE 2>/dev/null | grep -qF "$id" || { "$HERE/cluster.sh" load "$1" $IMAGE; break; }
done
kubectl apply $(printf -- '-f %s ' "${files[@]}") >/dev/null
sed "s/IMAGE/${id:7:12}/" driver.yaml | kubectl apply -f - >/dev/null
kubectl rollout status -n kube-system daemonset/csi-secrets-store --timeout=120s
