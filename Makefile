# The commands of the project. `make demo` and `make test` need nothing but this checkout, Rust, Go and (as root) Debian's
# package manager; each sets up the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export HOLDFAST_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast-e2e
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/target
export PATH := $(HOLDFAST_CACHE)/bin:$(PATH):/usr/local/go/bin:$(HOME)/.cargo/bin
export KUBECONFIG ?= $(HOLDFAST_CACHE)/kubeconfig
CLUSTER ?= holdfast
# What images are made from: PROFILE=release for what ships.
BUILD := $(if $(filter release,$(PROFILE)),release,build)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BIN := $(CARGO_TARGET_DIR)/$(HOST)/debug
CENTRAL := -p holdfast-server -p holdfast-operator
EVERYWHERE := -p holdfast-csi -p holdfast-webhook -p holdfast-agent
SHIPPED := $(CENTRAL) $(EVERYWHERE)

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

demo: cluster-tools $(BUILD) ## the main job, end to end, on a cluster on this machine (WORKERS=n; one node without)
	@e2e/cluster/cluster.sh up $(CLUSTER) $(WORKERS)
	@e2e/images.sh $(CLUSTER)
	@cargo run -q -p holdfast-e2e --bin demo

demo-down: ## remove the demo, its cluster, and the Docker engine if make started one (the cache of images stays)
	@e2e/cluster/cluster.sh down $(CLUSTER)
	@e2e/cluster/dockerd.sh stop

demo-shell: ## a shell with kubectl and helm set to the demo's cluster
	@PS1='(holdfast) \w $$ ' bash --norc

test: ## every test: formatting, lints, unit, integration, csi-sanity, chart, end to end
	@e2e/test.sh

audit-soak: ## 100,000 mixed requests with kills in between: each has its audit entries, and the chain holds
	HOLDFAST_AUDIT_REQUESTS=100000 cargo test -p holdfast-server --test main audit::every -- --nocapture

mount-soak: ## mounts, namespaces and tokens come and go for ten minutes: nothing stands still, and memory stays flat (CYCLES=n)
	HOLDFAST_SOAK_CYCLES=$(or $(CYCLES),8000) cargo test -p holdfast-server --test main soak:: -- --nocapture

lease-storm: ## 100,000 leases renewed at once and ended at once, with an optimised build (LEASES=n, STORED=n that end weeks later)
	HOLDFAST_STORM=$(or $(LEASES),100000) HOLDFAST_STORED=$(or $(STORED),0) cargo test --release -p holdfast-server --test main storm:: -- --nocapture

chaos: ## seeded runs under faults, judged for linearizability (RUNS=n SEED=s MODE=cached|barrier SECONDS=of-faults MUTANT=name)
	@e2e/cluster/tools.sh unit
	@$(if $(MUTANT),grep -rqF 'switched!("mutant.$(MUTANT)")' crates/barrier/src crates/core/src || { echo "there is no mutant $(MUTANT)"; exit 2; })
	@cargo build -q -p holdfast-server --bin holdfast $(if $(MUTANT),--features failpoints) && cargo build -q -p holdfast-chaos
	@$(if $(MUTANT),switches=$$(mktemp -d) && trap 'rm -r "$$switches"' EXIT && touch "$$switches/mutant.$(MUTANT)" &&) \
	  $(BIN)/chaos --runs $(or $(RUNS),1) $(if $(SEED),--seed $(SEED)) --mode $(or $(MODE),cached) --seconds $(or $(SECONDS),15) \
	  --holdfast $(BIN)/holdfast --etcd $(HOLDFAST_CACHE)/bin/etcd $(if $(MUTANT),--variable "HOLDFAST_FAILPOINTS=$$switches")

failover: ## what clients notice of each fault of the matrix that can be injected here: a table (ROWS="FM16 FM17"; all take 10 minutes)
	@e2e/cluster/tools.sh unit
	@cargo build -q --release -p holdfast-server --bin holdfast && cargo build -q --release -p holdfast-chaos --bin failover
	@$(CARGO_TARGET_DIR)/$(HOST)/release/failover --holdfast $(CARGO_TARGET_DIR)/$(HOST)/release/holdfast --etcd $(HOLDFAST_CACHE)/bin/etcd \
	  $(addprefix --only ,$(ROWS)) $(addprefix --disk ,$(DISK))

slow-disk: ## what clients notice while disks under etcd are slow, with strace: a table (DISK="milliseconds …")
	@$(MAKE) --no-print-directory failover DISK="$(or $(DISK),0 1 10 50 200 1000)"

csi-soak: cluster-tools $(BUILD) ## CSI volumes, with figures to paste: PODS=200 on one node, outages of two minutes (PROFILE=release as shipped)
	@e2e/cluster/cluster.sh up $(CLUSTER) $(or $(WORKERS),2)
	@e2e/images.sh $(CLUSTER)
	HOLDFAST_CSI_PODS=$(or $(PODS),200) cargo test -p holdfast-e2e --test main -- --nocapture --test-threads=1 exclusive::soak

build: ## all binaries, as tests and images use them
	cargo build $(SHIPPED)

path-of-holdfast:
	@echo $(BIN)/holdfast

fmt: ## check the formatting
	cargo fmt --all --check

lint: ## clippy on all targets, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## rustdoc, warnings are errors
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

crds: ## write crds/ and the chart's copies from the Rust types
	cargo run -q -p holdfast-operator -- crds --out crds
	mkdir -p charts/holdfast/files/crds && cp crds/*.yaml charts/holdfast/files/crds/

fuzz: ## each fuzz target for 60 s (SECONDS=n; TARGETS="hcl path")
	@SECONDS_EACH=$(or $(SECONDS),60) TARGETS="$(TARGETS)" fuzz/run.sh

deny: ## licences, bans and sources of dependencies (needs cargo-deny)
	cargo deny check licenses bans sources

cluster-tools:
	@e2e/cluster/tools.sh cluster

release: ## optimised binaries: for speed what runs in the middle, for size what runs on each node
	cargo build --release $(CENTRAL)
	cargo build --profile small $(EVERYWHERE)

.PHONY: mount-soak failover slow-disk path-of-holdfast help demo demo-down demo-shell test lease-storm chaos audit-soak csi-soak build fmt lint docs crds fuzz deny cluster-tools release
