#!/bin/bash
# install.sh SET...: installs what is missing on this machine, and says what. A second run finds everything and does nothing.
#   build   compile the workspace         run     build, and the sample handlers
#   test    build, and the real parts     bench   test, and the tool chains of the peers
#   cluster what boots a Kubernetes of one node; a part of test
set -euo pipefail

packages=() missing=()

has() { command -v "$1" >/dev/null 2>&1; }
# want NAME PACKAGE: the sets overlap, each thing is asked for once
want() {
  case " ${packages[*]} " in *" $2 "*) return 0 ;; esac
  missing+=("$1")
  packages+=("$2")
}
# tool COMMAND PACKAGE
tool() { has "$1" || want "$1" "$2"; }
# library PKG-CONFIG-NAME PACKAGE
library() { { has pkg-config && pkg-config --exists "$1"; } || want "$1" "$2"; }
fail() { echo "set-up: $*" >&2; exit 1; }

version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  has cargo || fail "no cargo: install Rust $wanted or newer and run this again"
  have=$(rustc --version | cut -d' ' -f2)
  version_at_least "$wanted" "$have" && return
  has rustup || fail "Rust $have is too old: $wanted or newer is needed"
  echo "set-up: Rust $have is older than $wanted, installing it with rustup"
  rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy
  rustup default "$wanted"
}

well_known_types() {
  local place
  place=$(dirname "$(dirname "$(command -v protoc || echo /usr/bin/protoc)")")
  [ -e "$place/include/google/protobuf/descriptor.proto" ]
}

# Kafka 4 runs on Java 17 or newer.
java_17() {
  local have
  has java || { want java openjdk-17-jre-headless; return; }
  have=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  [ "${have:-0}" -ge 17 ] || want "java 17" openjdk-17-jre-headless
}

build() {
  rust
  tool cc build-essential
  tool pkg-config pkg-config
  tool protoc protobuf-compiler
  # Debian keeps the well-known types that protoc imports in a package of their own, which it merely recommends.
  well_known_types || want "protoc's well-known types" libprotobuf-dev
  library libssl libssl-dev
  library zlib zlib1g-dev
}
run() { build; tool python3 python3; }
test() {
  run
  java_17
  tool mvn maven
  tool etcd etcd-server
  tool redis-server redis-server
  tool chromium chromium
  tool chromedriver chromium-driver
  tool lua5.4 lua5.4 # Argo CD's health rule is Lua
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || want libfaketime libfaketime
  cluster
}
# A runtime, network plugins, and the tools that they and the scripts call. Kubernetes itself is built from modules.
cluster() {
  tool cc build-essential
  tool openssl openssl
  tool python3 python3
  tool containerd containerd
  [ -x /usr/lib/cni/bridge ] || want "CNI plugins" containernetworking-plugins
  tool iptables iptables
  tool ip iproute2
  tool sysctl procps
  tool curl curl
  has go || fail "no go: install Go 1.21 or newer, it builds the Kubernetes for the tests"
}
bench() {
  test
  tool javac openjdk-17-jdk-headless
  python3 -c 'import ensurepip, venv' 2>/dev/null || want "python3 venv" python3-venv
}

# Debian starts the services that it installs; a test starts its own and wants nobody else's. A policy file forbids
# the start while we install; one that is already there is somebody's wish and stays.
install_packages() {
  local policy=/usr/sbin/policy-rc.d asroot=()
  has apt-get || fail "missing: ${missing[*]}. This is not Debian: please install what gives these commands and libraries"
  if [ "$(id -u)" != 0 ]; then
    has sudo || fail "missing: ${missing[*]}. Run as root: apt-get install ${packages[*]}"
    asroot=(sudo)
  fi
  echo "set-up: missing ${missing[*]}; installing ${packages[*]}"
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${asroot[@]}" tee $policy >/dev/null
    "${asroot[@]}" chmod 755 $policy
    # shellcheck disable=SC2064
    trap "${asroot[*]} rm -f $policy" EXIT
  fi
  "${asroot[@]}" apt-get update -qq || echo "set-up: apt-get update failed, trying with the lists that are here" >&2
  "${asroot[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" \
    || fail "apt-get could not install ${packages[*]}"
}

cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || fail "usage: install.sh build|run|test|bench|cluster ..."
for set in "$@"; do
  case $set in
    build|run|test|bench|cluster) "$set" ;;
    *) fail "unknown set $set" ;;
  esac
done
if [ ${#packages[@]} -gt 0 ]; then install_packages; fi
