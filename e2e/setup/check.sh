#!/bin/bash
# check.sh: what a person runs before each commit: format, lints, and every test that needs no server.
set -uo pipefail
. "$(dirname "$0")/stages.sh"
FLAGS=(--release --locked)
mapfile -t house < <(e2e_tests architecture vocabulary images)

stage "tools" e2e/setup/install.sh build || { closing_line; exit 1; }
stage "format" cargo fmt --all --check
stage "lints" cargo --quiet clippy "${FLAGS[@]}" --workspace --all-targets -- -D warnings
stage "laws, units, fakes" cargo --quiet test "${FLAGS[@]}" --no-fail-fast "${PURE[@]}"
stage "units of the rest" cargo --quiet test "${FLAGS[@]}" --no-fail-fast --lib \
  -p keyweir-kafka -p keyweir-embedded -p keyweir-etcd -p keyweir-handlers -p keyweir-worker -p keyweir
stage "the house" cargo --quiet test "${FLAGS[@]}" --no-fail-fast -p keyweir-e2e --lib "${house[@]}"
closing_line
