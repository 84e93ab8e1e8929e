#!/bin/bash
# test.sh: everything that must hold, against real servers. Ends with "N passed, N failed" alone on a line.
set -uo pipefail
. "$(dirname "$0")/stages.sh"
CARGO=(cargo --quiet)
FLAGS=(--release --locked)

parts() { "$TARGET/release/keyweir-parts" kafka etcd -- "$@"; }
exclude() { printf -- '--exclude\n%s\n' $(printf '%s\n' "${PURE[@]}" | grep keyweir) keyweir-e2e; }
mapfile -t excluded < <(exclude)
mapfile -t cluster < <(e2e_tests 'cluster_*')
mapfile -t others < <(cd e2e/tests && ls ./*.rs | sed 's/^\.\///; s/\.rs$//' | grep -v '^cluster_' | sed 's/^/--test\n/')

stage "tools" e2e/setup/install.sh test || { closing_line; exit 1; }
stage "build" cargo test "${FLAGS[@]}" --workspace --no-run || { closing_line; exit 1; }
stage "programs" "${CARGO[@]}" build "${FLAGS[@]}" --workspace --bins
stage "laws, units, fakes" "${CARGO[@]}" test "${FLAGS[@]}" --no-fail-fast "${PURE[@]}"
stage "adapters and programs, real servers" parts "${CARGO[@]}" test "${FLAGS[@]}" --no-fail-fast --workspace "${excluded[@]}"
stage "the house and the whole, real servers" parts "${CARGO[@]}" test "${FLAGS[@]}" --no-fail-fast -p keyweir-e2e --lib "${others[@]}"
if [ ${#cluster[@]} -gt 0 ]; then
  stage "real Kubernetes" parts "${CARGO[@]}" test "${FLAGS[@]}" --no-fail-fast -p keyweir-e2e "${cluster[@]}"
fi
closing_line
