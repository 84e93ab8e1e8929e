#!/bin/bash
# test.sh: everything that must hold, against real servers. Ends with "N passed, N failed" alone on a line.
set -uo pipefail
. "$(dirname "$0")/stages.sh"

with_parts() { "$TARGET/release/keyweir-parts" kafka etcd -- "$@"; }

# A cluster that KUBECONFIG names is used as it is; else the machine must be able to carry a node.
may_boot() {
  local lacks
  [ ${#cluster[@]} -gt 0 ] || return 1
  [ -z "${KUBECONFIG:-}" ] || return 0
  lacks=$(e2e/cluster/fits.sh) && return 0
  printf '\n=== real Kubernetes: NOT RUN (%s): this machine lacks\n%s\n' "${cluster[*]//--test/}" "$lacks"
  return 1
}

# Undoes what up.sh did to the machine, with all that it keeps.
cluster_down() {
  du -sh /var/lib/keyweir-cluster "$TARGET/images" 2> /dev/null | sed 's/^/=== the cluster takes /'
  e2e/cluster/down.sh --wipe
  rm -rf "$TARGET/images"
  trap - EXIT
}

df -h --output=avail . | tail -n 1 | sed 's/^ */=== free disk: /'
stage "tools" e2e/setup/install.sh test || { closing_line; exit 1; }
stage "build" cargo build "${ALL[@]}" --bins --tests --example native || { closing_line; exit 1; }
mapfile -t pure < <(targets "${PURE[@]}")
mapfile -t cluster < <(test_names | grep '^cluster_' | sed 's/^/--test\n/')
mapfile -t served < <(test_names | grep -v '^cluster_' | grep -vxF "$(printf '%s\n' "${PURE[@]}")" | sed 's/^/--test\n/')

stage "units" run_tests --lib --bins
stage "laws and fakes" run_tests "${pure[@]}"
stage "real servers" with_parts "${CARGO[@]}" test "${ALL[@]}" --no-fail-fast "${served[@]}"
if may_boot; then
  # Booted here, it goes again whatever happens; one that was up before stays as it is.
  [ -n "${KUBECONFIG:-}" ] || [ -e /run/keyweir-cluster/environment ] || trap 'cluster_down > /dev/null 2>&1' EXIT
  { [ -n "${KUBECONFIG:-}" ] || stage "Kubernetes itself" e2e/cluster/up.sh; } &&
    stage "real Kubernetes" "${CARGO[@]}" test "${ALL[@]}" --no-fail-fast "${cluster[@]}"
  [ -z "$(trap -p EXIT)" ] || cluster_down
fi
du -sh "$TARGET" 2>/dev/null | sed 's/^\([^\t]*\).*/=== the build takes \1 of disk/'
closing_line
