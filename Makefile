# What a person types. Each target installs what it needs and is missing, and says so.
#   make run       a first look: a sample on the embedded default, on this machine
#   make test      everything that must hold, against a real Kafka broker, a real etcd, a real Kubernetes
#   make check     before each commit: format, lints, tests that need no server
#   make bench     the open benchmark beside the peers; BENCH="--help" shows its options
#   make chaos     the long fault runs; CHAOS=short for the short ones, KEYWEIR_SEED=7 for another storm,
#                  KEYWEIR_KEEP=DIR keeps the logs of one that fails
#   make cluster   a real Kubernetes of one node; make cluster-down ends it; make images makes its images
.DEFAULT_GOAL := help
.PHONY: help run build test check bench chaos cluster cluster-down images

BENCH ?=
CHAOS ?= long

help:
	@sed -n 's/^#   //p' Makefile

build:
	@e2e/setup/install.sh build
	cargo build --release --locked --workspace --bins

run:
	@e2e/setup/install.sh run
	cargo build --release --locked --workspace --bins
	@rm -rf target/first-look && mkdir -p target/first-look
	target/release/keyweir run -f config/samples/orders.yaml --embedded --data target/first-look/data \
		--event-log target/first-look/events.jsonl --listen 127.0.0.1:0 --feed orders=e2e/data/orders.jsonl --until-idle 2s

test:
	@e2e/setup/test.sh

check:
	@e2e/setup/check.sh

bench:
	@e2e/setup/install.sh bench
	cargo build --release --locked --workspace --bins
	target/release/keyweir-bench $(BENCH)

chaos:
	@e2e/setup/install.sh test
	cargo build --release --locked --workspace --bins --test 'chaos*'
	KEYWEIR_CHAOS=$(CHAOS) target/release/keyweir-parts kafka etcd -- \
		cargo test --release --locked --workspace --test 'chaos*' -- --nocapture

cluster:
	e2e/cluster/up.sh

cluster-down:
	e2e/cluster/down.sh

images:
	e2e/cluster/images.sh
