#!/bin/bash
# Starts a Docker engine where none runs (root). Where the machine lacks CAP_SYS_RESOURCE, a wrapper runtime drops it
# from what containers ask for.
# use: dockerd.sh start | stop
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
PIDFILE=/run/holdfast-docker.pid
case ${1:-} in
start)
  docker version >/dev/null 2>&1 && exit 0
  step "starting a Docker engine"
  sysctl -qw net.ipv4.ip_forward=1   # before dockerd, which otherwise sets the FORWARD policy to DROP
  RUNTIME=()
  if [ $(( 0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status) >> 24 & 1 )) = 0 ]; then
    (cd "$HERE/runc-nocap" && CGO_ENABLED=0 go build -buildvcs=false -o "$CACHE/bin/runc-nocap" .)
    RUNTIME=(--add-runtime "nocap=$CACHE/bin/runc-nocap" --default-runtime nocap)
  fi
  rm -f "$PIDFILE"
  setsid dockerd --data-root "$CACHE/docker" --exec-root /run/holdfast-docker --pidfile "$PIDFILE" "${RUNTIME[@]}" >"$CACHE/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 150); do docker version >/dev/null 2>&1 && exit 0; sleep 0.2; done
  echo "the Docker engine did not start:" >&2; tail -5 "$CACHE/dockerd.log" >&2; exit 1 ;;
stop)
  [ -e "$PIDFILE" ] || exit 0
  docker network rm kind >/dev/null 2>&1 || true   # its bridge and rules outlive the engine otherwise
  kill "$(cat "$PIDFILE")" ;;
*) sed -n '2,4p' "$0"; exit 2 ;;
esac
