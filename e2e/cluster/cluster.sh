#!/bin/bash
# A kind cluster for demo and tests. Finds or makes everything it needs: an engine, a node image, the cluster.
#   cluster.sh up NAME [WORKERS]     idempotent; a cluster that is there, answers and has so many workers or more is kept
#   cluster.sh down NAME
#   cluster.sh load NAME IMAGE...    puts images of the engine into the cluster
# KIND_NODE_IMAGE names the node image. Without it: the image made here, if there is one; else the public one, if a
# registry answers; else one is made here from Debian packages and Go modules (about 10 minutes on two cores, once).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
NAME=${2:?name of the cluster}

node_image() {
  if [ -n "${KIND_NODE_IMAGE:-}" ]; then echo "$KIND_NODE_IMAGE"; return; fi
  if docker image inspect "$LOCAL_NODE_IMAGE" >/dev/null 2>&1; then echo "$LOCAL_NODE_IMAGE"; return; fi
  if [ -s "$CACHE/node.tar.gz" ]; then step "loading the node image"; docker load -qi "$CACHE/node.tar.gz" >/dev/null; echo "$LOCAL_NODE_IMAGE"; return; fi
  if docker image inspect "$PUBLIC_NODE_IMAGE" >/dev/null 2>&1; then echo "$PUBLIC_NODE_IMAGE"; return; fi
  # A short question first: where there is no way out, a pull may hang.
  if timeout 20 docker manifest inspect "$PUBLIC_NODE_IMAGE" >/dev/null 2>&1 && timeout 900 docker pull -q "$PUBLIC_NODE_IMAGE" >/dev/null; then echo "$PUBLIC_NODE_IMAGE"; return; fi
  step "no registry answers: making a node image"
  "$HERE/node-image.sh" "$CACHE/node.tar.gz"; echo "$LOCAL_NODE_IMAGE"
}

kubeadm_patches() { # IMAGE
  [[ $1 == local/* ]] && cat <<E2
- |
  kind: ClusterConfiguration
  imageRepository: localhost
  etcd: {local: {imageTag: "$ETCD"}}
  dns: {imageTag: $COREDNS}
E2
  # Kubelet 1.35 refuses to start on cgroup v1 unless told otherwise.
  [ "$(docker info -f '{{.CgroupVersion}}')" = 1 ] && cat <<E2
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  failCgroupV1: false
E2
  true
}

network() { # what kind's own network daemon does: a bridge on each node, routes between the nodes
  declare -A CIDR IP; local n m
  for n in $(kind get nodes --name "$NAME"); do
    until CIDR[$n]=$(kubectl get node "$n" -o jsonpath='{.spec.podCIDR}') && [ -n "${CIDR[$n]}" ]; do sleep 0.2; done
    IP[$n]=$(kubectl get node "$n" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}')
  done
  for n in "${!CIDR[@]}"; do
    docker exec -i "$n" sh -c 'cat >/etc/cni/net.d/10-bridge.conflist' <<E2
{"cniVersion":"1.0.0","name":"bridge","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"${CIDR[$n]}"}]],"routes":[{"dst":"0.0.0.0/0"}]}},{"type":"portmap","capabilities":{"portMappings":true}}]}
E2
    # A unit, so that a node that is restarted has them again.
    { printf '[Unit]\nDescription=Routes between nodes\n[Service]\nType=oneshot\nRemainAfterExit=yes\n'
      echo 'ExecStart=iptables -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE'
      for m in "${!CIDR[@]}"; do [ "$m" = "$n" ] || echo "ExecStart=ip route replace ${CIDR[$m]} via ${IP[$m]}"; done
      printf '[Install]\nWantedBy=multi-user.target\n'
    } | docker exec -i "$n" sh -c 'cat >/etc/systemd/system/routes.service'
    docker exec "$n" systemctl -q enable --now routes.service
  done
}

has_gates() { [[ $(kubectl --context "kind-$NAME" get --raw "/api/v1/nodes/$NAME-control-plane/proxy/configz") == *'"CSIVolumeHealth":true'* ]]; }

up() {
  "$HERE/dockerd.sh" start
  if kind get clusters 2>/dev/null | grep -qx "$NAME"; then
    kind export kubeconfig --name "$NAME" >/dev/null 2>&1 || true
    local workers; workers=$(($(kind get nodes -q --name "$NAME" | wc -l) - 1))
    if ! kubectl --context "kind-$NAME" --request-timeout=10s get --raw /readyz >/dev/null 2>&1; then
      step "cluster $NAME does not answer: making it anew"
    elif [ "$workers" -lt "${1:-0}" ]; then
      step "cluster $NAME has $workers workers and $1 are wanted: making it anew"   # kind adds no nodes
    elif ! has_gates; then
      step "cluster $NAME does not tell the health of volumes: making it anew"
    else return 0; fi
    kind delete cluster -q --name "$NAME"
  fi
  local image config; image=$(node_image | tail -1); config=$(mktemp)
  { echo 'kind: Cluster'; echo 'apiVersion: kind.x-k8s.io/v1alpha4'
    [[ $image == local/* ]] && echo 'networking: {disableDefaultCNI: true}'
    echo 'featureGates: {CSIVolumeHealth: true}'   # alpha: kubelet says when a volume is stale
    echo 'nodes:'; echo '- role: control-plane'; for _ in $(seq "${1:-0}"); do echo '- role: worker'; done
    patches=$(kubeadm_patches "$image"); [ -z "$patches" ] || printf 'kubeadmConfigPatches:\n%s\n' "$patches"
  } >"$config"
  step "creating cluster $NAME from $image"
  kind create cluster -q --name "$NAME" --image "$image" --config "$config"; rm -f "$config"
  [[ $image == local/* ]] && network
  kubectl --context "kind-$NAME" wait --for=condition=Ready node --all --timeout=120s >/dev/null
  # A pod made before its namespace has its service account is refused.
  until kubectl --context "kind-$NAME" -n default get serviceaccount default >/dev/null 2>&1; do sleep 0.2; done
}

case ${1:-} in
up) up "${3:-0}" ;;
down) docker version >/dev/null 2>&1 && kind delete cluster -q --name "$NAME"; true ;;
load) kind load docker-image -q --name "$NAME" "${@:3}" ;;
*) sed -n '2,8p' "$0"; exit 2 ;;
esac
