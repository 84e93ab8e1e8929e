#!/bin/bash
# check.sh: what a person runs before each commit: format, lints, and every test that needs no server.
set -uo pipefail
. "$(dirname "$0")/stages.sh"
mapfile -t pure < <(targets "${PURE[@]}")

stage "tools" e2e/setup/install.sh build || { closing_line; exit 1; }
stage "format" cargo fmt --all --check
stage "lints" "${CARGO[@]}" clippy "${ALL[@]}" --all-targets -- -D warnings
stage "units" run_tests --lib
stage "laws and fakes" run_tests "${pure[@]}"
closing_line
