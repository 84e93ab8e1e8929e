#!/bin/bash
# build.sh: builds kube (Kubernetes and its etcd), dns (CoreDNS) and helm, once, and prints their directory.
# The directory is named by what goes into them, so a change builds anew and an older checkout finds its own.
# Modules and objects (4 GB) are kept only while it builds: nothing but these programs needs them.
set -euo pipefail
. "$(dirname "$0")/common.sh"

out=$BINARIES
exec 9> "$(mkdir -p "$CACHE" && echo "$CACHE/build.lock")"
flock 9 # two callers would pay twice
if [ ! -e "$out/complete" ]; then
  scratch=$CACHE/cluster-build # a fixed name: the next build removes what a killed one left
  rm -rf "$scratch"
  trap 'rm -rf "$scratch"' EXIT
  mkdir -p "$out" "$scratch"
  cd "$HERE/binaries"
  export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly -trimpath -modcacherw"
  export GOCACHE=$scratch/objects GOMODCACHE=$scratch/modules
  say "building Kubernetes into $out (minutes, once)" >&2

  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${version#v1.}
  minor=${minor%%.*}
  kube="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    kube+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor"
    kube+=" -X $package.gitTreeState=clean -X $package.gitCommit=module -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  module=helm.sh/helm/v3
  helm="-s -w -X $module/internal/version.version=$(go list -m -f '{{.Version}}' $module)"
  # Unless told, helm templates and lints for Kubernetes 1.20.
  for package in $module/pkg/chartutil $module/pkg/lint/rules; do
    helm+=" -X $package.k8sVersionMajor=1 -X $package.k8sVersionMinor=$minor"
  done

  nice -n 19 go build -ldflags "$kube" -o "$out/kube" ./kube >&2
  nice -n 19 go build -ldflags "-s -w" -o "$out/dns" ./dns >&2
  nice -n 19 go build -ldflags "$helm" -o "$out/helm" $module/cmd/helm >&2
  ln -sf kube "$out/kubectl"
  touch "$out/complete"
  say "$(du -sh "$scratch" | cut -f 1) used while building, $(du -sh "$out" | cut -f 1) kept" >&2
fi
echo "$out"
