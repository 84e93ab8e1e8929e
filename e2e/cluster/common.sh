# Sourced by the other scripts: where things lie, which addresses they use, and a few words to write scripts with.
# One cluster a machine: its ports, its bridge and these two directories are fixed, so that down.sh always finds it.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${KEYWEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keyweir}
BINARIES=$CACHE/cluster-$(cat "$HERE"/binaries/go.sum "$HERE"/binaries/*/*.go "$HERE"/build.sh | sha256sum | cut -c1-12)
DATA=/var/lib/keyweir-cluster # keys, stores, logs, images
RUN=/run/keyweir-cluster      # sockets, pid files, containerd's state: paths must be short

BRIDGE=keyweir0
NODE=10.244.0.1 # the bridge's own address: the node, the API server, DNS, and what tests run on the host for pods
PODS=10.244.0.0/24
SERVICES=10.97.0.0/24
API_SERVICE=10.97.0.1
API_PORT=6443
ETCD_PORT=14379
ETCD_PEER_PORT=14380
SOCKET=$RUN/containerd.sock
ENVIRONMENT=$RUN/environment # written last: a cluster that has it is complete
PAUSE=localhost/pause:1

export KUBECONFIG=$DATA/admin.kubeconfig

ctr() { command ctr --address "$SOCKET" --namespace k8s.io "$@"; }
kubectl() { "$BINARIES/kubectl" "$@"; }
say() { printf '%s %s\n' "$(date +%T.%3N)" "$*"; }

# within SECONDS COMMAND...: repeats the command until it succeeds
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "gave up on: $*" >&2; return 1; }
    sleep 0.1
  done
}

# fill FILE: the file with each @NAME@ replaced by that shell variable
fill() {
  local name program=""
  for name in $(grep -o '@[A-Z_]*@' "$1" | tr -d @ | sort -u); do
    program+="s#@$name@#${!name}#g;"
  done
  sed "$program" "$1"
}

# spawn NAME COMMAND...: runs it in a session of its own, its output in log/NAME.log
spawn() {
  local name=$1 fd
  shift
  (
    # A lock that this script or its caller holds by a descriptor must not be held on by what stays.
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    exec setsid "$@"
  ) >> "$DATA/log/$name.log" 2>&1 < /dev/null &
  echo $! > "$RUN/pids/$name"
}
