#!/bin/bash
# Drives one optimised server on a real etcd through the workloads that Vault servers are compared under, with the limits
# of this machine in the same run, and prints Markdown. Only ratios within one run mean anything.
#   run.sh [--seconds 8] [--connections "32 256"] [--members 1] [--replicas 1] [--read-mode cached|barrier] [--tls] [--audit]
#          [--one-by-one] [--workloads "kv1_read …"] [--storage etcd|file|inmem] [--keep FOLDER]
# --one-by-one: each transaction travels by itself; nothing is read from memory. --keep: logs, and the servers' process ids.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); cd "$HERE/.."; . e2e/cluster/env.sh
SECONDS_EACH=8 CONNECTIONS="32 256" MEMBERS=1 REPLICAS=1 READ_MODE=cached ONE_BY_ONE= TLS= AUDIT= STORAGE=etcd KEEP=
WORKLOADS="kv1_read kv2_read token_lookup kv1_write kv2_write token_create approle_login"
usage() { sed -n '2,6s/^# *//p' "$HERE/run.sh" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --tls) TLS=1 ;; --audit) AUDIT=1 ;; --one-by-one) ONE_BY_ONE=1 READ_MODE=barrier ;;
    --seconds|--connections|--members|--replicas|--read-mode|--workloads|--storage|--keep) [ $# -gt 1 ] || usage
      case $1 in --seconds) SECONDS_EACH=$2 ;; --connections) CONNECTIONS=$2 ;; --members) MEMBERS=$2 ;; --replicas) REPLICAS=$2 ;;
        --read-mode) READ_MODE=$2 ;; --workloads) WORKLOADS=$2 ;; --storage) STORAGE=$2 ;; --keep) KEEP=$2 ;; esac; shift ;;
    *) usage ;;
  esac; shift
done
for tool in wrk curl jq; do command -v $tool >/dev/null || { echo "bench/run.sh needs $tool: apt-get install $tool" >&2; exit 1; }; done
BIN=$CARGO_TARGET_DIR/$(rustc -vV | sed -n 's/^host: //p')/release
[ -n "${NO_BUILD:-}" ] || cargo build --release -p holdfast-server -p holdfast-bench >&2
W=${KEEP:-$(mktemp -d)}; mkdir -p "$W"; PIDS=() ETCD_PIDS=()
finish() { [ ${#PIDS[@]} = 0 ] || kill "${PIDS[@]}" 2>/dev/null || true; wait 2>/dev/null || true; [ -n "$KEEP" ] || rm -rf "$W"; }
trap finish EXIT
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
until_ok() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "gave up: $*" >&2; tail -5 "$W"/*.log >&2; exit 1; }

etcd_cluster() { # fsync on, as in production
  local i peers=() clients=(); for i in $(seq "$MEMBERS"); do peers+=("$(port)"); clients+=("$(port)"); done
  local cluster; cluster=$(for i in $(seq "$MEMBERS"); do printf 'm%d=http://127.0.0.1:%s,' "$i" "${peers[i-1]}"; done)
  for i in $(seq "$MEMBERS"); do
    "$CACHE/bin/etcd" --name "m$i" --data-dir "$W/etcd$i" --listen-client-urls "http://127.0.0.1:${clients[i-1]}" --advertise-client-urls "http://127.0.0.1:${clients[i-1]}" \
      --listen-peer-urls "http://127.0.0.1:${peers[i-1]}" --initial-advertise-peer-urls "http://127.0.0.1:${peers[i-1]}" --initial-cluster "${cluster%,}" \
      --quota-backend-bytes 8589934592 >"$W/etcd$i.log" 2>&1 & PIDS+=($!); ETCD_PIDS+=($!)
  done
  ENDPOINTS=$(for p in "${clients[@]}"; do printf 'http://127.0.0.1:%s,' "$p"; done); ENDPOINTS=${ENDPOINTS%,}
  until_ok curl -sf "${ENDPOINTS%%,*}/health"
}
server() { # number → ADDRS, SERVER_PIDS
  local p c=$W/server$1; p=$(port); mkdir -p "$c"
  local tls='tls_disable = true' scheme=http
  if [ -n "$TLS" ]; then scheme=https; tls="tls_cert_file = \"$W/tls.crt\"
  tls_key_file = \"$W/tls.key\""; fi
  local cluster='' peers; peers=$(port)
  [ "$REPLICAS" = 1 ] || cluster="cluster_addr = \"https://127.0.0.1:$peers\""
  local storage="storage \"etcd\" { address = \"${ENDPOINTS:-}\" ${ONE_BY_ONE:+allow_old_etcd = true} }"
  case $STORAGE in file) storage="storage \"file\" { path = \"$c/data\" }" ;; inmem) storage='storage "inmem" {}' ;; esac
  printf '%s\nlistener "tcp" {\n  address = "127.0.0.1:%s"\n  cluster_address = "127.0.0.1:%s"\n  %s\n}\nlog_level = "warn"\nread_mode = "%s"\n%s\n' \
    "$storage" "$p" "$peers" "$tls" "$READ_MODE" "$cluster" > "$c/config.hcl"
  "$BIN/holdfast" server -config="$c/config.hcl" >"$W/server$1.log" 2>&1 & PIDS+=($!); SERVER_PIDS+=($!); echo $! >> "$W/servers"
  ADDRS+=("$scheme://127.0.0.1:$p"); until_ok curl -skf "$scheme://127.0.0.1:$p/v1/sys/init"
}
call() { curl -sk -X "$1" -H "X-Vault-Token: ${TOKEN:-}" "${ADDRS[0]}/v1/$2" "${@:3}"; }
now_ms() { date +%s%3N; }
reads_as_told() { # the replica at $1 reads from memory, if it is to
  [ "$READ_MODE" = barrier ] || curl -skf -H "X-Vault-Token: $TOKEN" "$1/v1/sys/ha-status" | jq -e '.data.nodes[] | select(.answers) | .reads_memory'
}
cpu_us() { local pid sum=0; for pid in "$@"; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done; echo $((sum * 1000000 / $(getconf CLK_TCK))); }
each() { # µs before, µs after, requests a second → µs of processor time for one request
  awk -v a="$1" -v b="$2" -v r="$3" -v s="$SECONDS_EACH" 'BEGIN {if (r > 0) printf "%.0f", (b - a) / (r * s); else print "-"}'
}
rss() { awk '/VmRSS/ {printf "%.0f", $2/1024}' "/proc/$1/status"; }
set_up() {
  local init key i start; start=$(now_ms)
  init=$(call PUT sys/init -d '{"secret_shares":1,"secret_threshold":1}'); key=$(jq -r '.keys[0]' <<<"$init"); TOKEN=$(jq -r .root_token <<<"$init"); export TOKEN
  for a in "${ADDRS[@]}"; do curl -sk -X PUT "$a/v1/sys/unseal" -d "{\"key\":\"$key\"}" >/dev/null; until_ok curl -skf "$a/v1/sys/health"
    [ "$a" != "${ADDRS[0]}" ] || INIT=$(($(now_ms) - start)); done
  for a in "${ADDRS[@]}"; do until_ok reads_as_told "$a"; done
  sleep 1; IDLE=$(rss "${SERVER_PIDS[0]}")
  [ -z "$AUDIT" ] || call PUT sys/audit/file -d "{\"type\":\"file\",\"options\":{\"file_path\":\"$W/audit.log\"}}" >/dev/null
  call POST sys/mounts/bkv1 -d '{"type":"kv"}'; call POST sys/mounts/bkv2 -d '{"type":"kv","options":{"version":"2"}}'
  call POST sys/auth/bapprole -d '{"type":"approle"}'; call POST auth/bapprole/role/r -d '{"token_policies":"default","token_ttl":"1h"}'
  ROLE_ID=$(call GET auth/bapprole/role/r/role-id | jq -r .data.role_id); SECRET_ID=$(call POST auth/bapprole/role/r/secret-id -d '{}' | jq -r .data.secret_id); export ROLE_ID SECRET_ID
  for i in $(seq 100); do
    call POST "bkv1/s$i" -d '{"user":"u","password":"0123456789abcdef"}'; call POST "bkv2/data/s$i" -d '{"data":{"user":"u","password":"0123456789abcdef"}}' >/dev/null
  done
}
drive() { # workload connections address…: the connections are shared among the addresses
  local w=$1 c=$2; shift 2; local n=$# pids=() a i=0
  for a in "$@"; do WORKLOAD=$w wrk -t2 -c$((c / n > 2 ? c / n : 2)) -d"${SECONDS_EACH}s" -s "$HERE/workloads.lua" "$a" >"$W/wrk$i" 2>&1 & pids+=($!); i=$((i + 1)); done
  wait "${pids[@]}"
  for i in $(seq 0 $((n - 1))); do grep RESULT "$W/wrk$i" || echo "RESULT 0 0 0 -1"; done |
    awk '{r+=$2; if($3>p)p=$3; if($4>q)q=$4; b+=$5} END {printf "%d %.2f %.2f %d\n", r, p, q, b}'
}

[ -z "$TLS" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 -keyout "$W/tls.key" -out "$W/tls.crt" 2>/dev/null
ADDRS=() SERVER_PIDS=()
[ "$STORAGE" != etcd ] || etcd_cluster
for i in $(seq "$REPLICAS"); do server "$i"; done
set_up
LIMIT=$(port); "$BIN/limits" http "$LIMIT" & LIMIT_PID=$!; PIDS+=($LIMIT_PID)
printf '`bench/run.sh` on %s: storage %s, %s member(s), %s replica(s), reads %s, %s, TLS %s, audit %s, %s s a row; from `sys/init` to serving %s ms, idle %s MB.\n\n' \
  "$(uname -m), $(nproc) cores" "$STORAGE" "$MEMBERS" "$REPLICAS" "$READ_MODE" "$([ -n "$ONE_BY_ONE" ] && echo 'one by one' || echo 'group commit')" \
  "$([ -n "$TLS" ] && echo on || echo off)" "$([ -n "$AUDIT" ] && echo on || echo off)" "$SECONDS_EACH" "$INIT" "$IDLE"
printf '| workload | connections | req/s | p50 ms | p99 ms | bad | of the limit | µs of CPU a request: server | etcd |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n'
for c in $CONNECTIONS; do
  us=$(cpu_us "$LIMIT_PID"); read -r best p50 p99 bad <<<"$(drive bare "$c" "http://127.0.0.1:$LIMIT")"
  printf '| *bare hyper* | %s | %s | %s | %s | %s | | %s | |\n' "$c" "$best" "$p50" "$p99" "$bad" "$(each "$us" "$(cpu_us "$LIMIT_PID")" "$best")"
  if [ "$STORAGE" = etcd ]; then
    us=$(cpu_us "${ETCD_PIDS[@]}"); read -r puts p50 p99 <<<"$("$BIN/limits" etcd "${ENDPOINTS%%,*}" --in-flight "$c" --nested "$((c / 2 > 64 ? 64 : c / 2))" --seconds "$SECONDS_EACH")"
    printf '| *raw etcd, nested puts* | %s | %s | %s | %s | 0 | | | %s |\n' "$c" "$puts" "$p50" "$p99" "$(each "$us" "$(cpu_us "${ETCD_PIDS[@]}")" "$puts")"
    for how in '' --one-by-one; do
      us=$(cpu_us "${ETCD_PIDS[@]}"); read -r rate p50 p99 <<<"$("$BIN/limits" barrier "${ENDPOINTS%%,*}" --in-flight "$c" $how --seconds "$SECONDS_EACH")"
      printf '| *barrier alone, read and put%s* | %s | %s | %s | %s | 0 | %s %% | | %s |\n' "${how:+, one by one}" "$c" "$rate" "$p50" "$p99" "$((100 * rate / puts))" \
        "$(each "$us" "$(cpu_us "${ETCD_PIDS[@]}")" "$rate")"
    done
  fi
  for w in $WORKLOADS; do
    us=$(cpu_us "${SERVER_PIDS[@]}") etcd_us=$(cpu_us ${ETCD_PIDS[@]+"${ETCD_PIDS[@]}"})
    read -r rate p50 p99 bad <<<"$(drive "$w" "$c" "${ADDRS[@]}")"
    case $w in *read|token_lookup|transit_encrypt) limit=$best ;; *) limit=${puts:-$best} ;; esac
    printf '| %s | %s | %s | %s | %s | %s | %s %% | %s | %s |\n' "$w" "$c" "$rate" "$p50" "$p99" "$bad" "$((100 * rate / (limit > 0 ? limit : 1)))" \
      "$(each "$us" "$(cpu_us "${SERVER_PIDS[@]}")" "$rate")" "$(each "$etcd_us" "$(cpu_us ${ETCD_PIDS[@]+"${ETCD_PIDS[@]}"})" "$rate")"
  done
done
AT_END=$(rss "${SERVER_PIDS[0]}"); sleep 1
printf '\nResident memory of the server at the end: %s MB, and a second later, when its connections are closed: %s MB.\n' "$AT_END" "$(rss "${SERVER_PIDS[0]}")"
