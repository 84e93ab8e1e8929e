#!/bin/bash
# test.sh: everything that must hold, against real servers. Ends with "N passed, N failed" alone on a line.
set -uo pipefail
. "$(dirname "$0")/stages.sh"

with_parts() { "$TARGET/release/keyweir-parts" kafka etcd -- "$@"; }

stage "tools" e2e/setup/install.sh test || { closing_line; exit 1; }
stage "build" cargo build "${ALL[@]}" --bins --tests || { closing_line; exit 1; }
mapfile -t pure < <(targets "${PURE[@]}")
mapfile -t cluster < <(test_names | grep '^cluster_' | sed 's/^/--test\n/')
mapfile -t served < <(test_names | grep -v '^cluster_' | grep -vxF "$(printf '%s\n' "${PURE[@]}")" | sed 's/^/--test\n/')

stage "units" run_tests --lib --bins
stage "laws and fakes" run_tests "${pure[@]}"
stage "real servers" with_parts "${CARGO[@]}" test "${ALL[@]}" --no-fail-fast "${served[@]}"
if [ ${#cluster[@]} -gt 0 ]; then
  stage "real Kubernetes" with_parts "${CARGO[@]}" test "${ALL[@]}" --no-fail-fast "${cluster[@]}"
fi
du -sh "$TARGET" 2>/dev/null | sed 's/^\([^\t]*\).*/=== the build takes \1 of disk/'
closing_line
