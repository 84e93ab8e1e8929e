#!/bin/sh
# genmod.sh VERSION (without the v): starts go.mod anew for another Kubernetes.
# k8s.io/kubernetes names its staging modules by path, so whoever imports it must replace each one.
# Afterwards: go get CoreDNS and etcd, and go get -tool Helm, in versions that share this client-go; then go mod tidy.
set -eu
cd "$(dirname "$0")"
version=$1
staging=0.${version#1.}
upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | jq -r .GoMod)
{
  printf 'module keyweir.io/e2e/cluster\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$version"
  sed -n "s#^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging.*#\t\1 => \1 v$staging#p" "$upstream"
  printf ')\n'
} > go.mod
