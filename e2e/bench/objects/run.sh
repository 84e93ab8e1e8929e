#!/bin/bash
# run.sh [OBJECTS]: what 3,000 StreamConsumer objects cost the operator: memory, time, API calls, idle CPU, reaction.
# A real API server and etcd (e2e/cluster's own binaries) and the operator of target/release, all in a network and a
# /etc/hosts of their own, so that they meet nobody else's. What isn't there is played: the Deployments' controller, and a
# worker for each object, which answers at an address of its own.
set -euo pipefail
cd "$(dirname "$0")/../../.."
if [ "${1:-}" != inside ]; then
  e2e/cluster/build.sh > /dev/null
  exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" inside "${1:-3000}"
fi
OBJECTS=$2
. e2e/cluster/common.sh
TARGET=${CARGO_TARGET_DIR:-target}
WORK=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null; wait; rm -rf "$WORK"' EXIT
ip link set lo up

# Names of the workers, as the operator asks for them: an address of 127.0.0.0/8 for each object.
{
  echo "127.0.0.1 localhost"
  for ((n = 0; n < OBJECTS; n++)); do
    echo "127.1.$((n / 250)).$((n % 250 + 1)) object-$n-stc.load-$((n % 10)).svc"
  done
} > "$WORK/hosts"
mount --bind "$WORK/hosts" /etc/hosts
printf 'hosts: files\n' > "$WORK/nsswitch"
mount --bind "$WORK/nsswitch" /etc/nsswitch.conf

start() { "$@" >> "$WORK/log" 2>&1 & }
start "$BINARIES/kube" etcd --data-dir "$WORK/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380
openssl genrsa -out "$WORK/sa.key" 2048 2> /dev/null
openssl rsa -in "$WORK/sa.key" -pubout -out "$WORK/sa.pub" 2> /dev/null
echo 'secret,admin,admin,system:masters' > "$WORK/tokens"
start "$BINARIES/kube" kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 \
  --advertise-address=127.0.0.1 --secure-port=6443 --cert-dir="$WORK/certificates" --token-auth-file="$WORK/tokens" \
  --service-account-key-file="$WORK/sa.pub" --service-account-signing-key-file="$WORK/sa.key" \
  --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.97.0.0/16 \
  --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount
cat > "$WORK/kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: load, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: load, user: {token: secret}}]
contexts: [{name: load, context: {cluster: load, user: load}}]
current-context: load
X
export KUBECONFIG=$WORK/kubeconfig
within 60 kubectl get --raw /readyz
kubectl apply --server-side -f config/crd/streamconsumers.yaml > /dev/null
kubectl wait --for=condition=Established --timeout=30s crd/streamconsumers.keyweir.io > /dev/null
cat > "$WORK/defaults.yaml" <<X
coordination: {type: Etcd, etcd: {endpoints: ["http://etcd.data:2379"]}}
X
OPERATOR=$TARGET/release/keyweir-operator DEFAULTS=$WORK/defaults.yaml LOG=$WORK/operator.log \
  python3 e2e/bench/objects/load.py "$OBJECTS" || { tail -n 20 "$WORK/log" "$WORK/operator.log" >&2; exit 1; }
