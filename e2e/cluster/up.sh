#!/bin/bash
# up.sh: boots a real Kubernetes of one node on this machine and ends when the node is Ready.
# A cluster that is up already is left as it is; what a broken one left behind is cleared away first.
# It prints the file whose exports (KUBECONFIG, PATH, KEYWEIR_HOST_ADDRESS) lead to the cluster.
set -euo pipefail
. "$(dirname "$0")/common.sh"

network() {
  local name
  # down.sh puts back what stood here.
  for name in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables fs.inotify.max_user_instances vm.overcommit_memory \
    vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes \
    net.ipv4.conf.all.route_localnet net.netfilter.nf_conntrack_max; do
    sysctl "$name" 2> /dev/null | tr -d ' ' || true
  done > "$RUN/sysctl.before"
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
  sysctl -qw fs.inotify.max_user_instances=1024 || true
  ip link show "$BRIDGE" > /dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip address replace "$NODE/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  mkdir -p "$DATA/cni"
  fill "$HERE/conf/bridge.conflist" > "$DATA/cni/10-bridge.conflist"
}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2> /dev/null; }

# certificate NAME SUBJECT EXTENSIONS
certificate() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
      -extfile <(printf 'keyUsage=critical,digitalSignature\n%s\n' "$3") 2> /dev/null
}

# The clients: what each is called in its certificate.
declare -A SUBJECTS=(
  [admin]=/O=system:masters/CN=admin
  [kubelet]=/O=system:nodes/CN=system:node:node
  [kube-controller-manager]=/CN=system:kube-controller-manager
  [kube-scheduler]=/CN=system:kube-scheduler
  [kube-proxy]=/CN=system:kube-proxy
)

# Keys are made once and kept; kubeconfigs are written anew, they name addresses.
keys() (
  local service=kubernetes.default.svc USER_NAME CA CERTIFICATE KEY
  mkdir -p "$DATA/pki"
  cd "$DATA/pki"
  if [ ! -e complete ]; then
    key ca
    openssl req -x509 -new -key ca.key -subj /CN=keyweir-test-ca -days 3650 -out ca.crt
    key sa
    openssl ec -in sa.key -pubout -out sa.pub 2> /dev/null
    certificate apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:$service,DNS:$service.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$NODE,IP:$API_SERVICE"
    for USER_NAME in "${!SUBJECTS[@]}"; do
      certificate "$USER_NAME" "${SUBJECTS[$USER_NAME]}" "extendedKeyUsage=clientAuth"
    done
    touch complete
  fi
  CA=$(base64 -w0 ca.crt)
  for USER_NAME in "${!SUBJECTS[@]}"; do
    CERTIFICATE=$(base64 -w0 "$USER_NAME.crt") KEY=$(base64 -w0 "$USER_NAME.key")
    fill "$HERE/conf/kubeconfig.yaml" > "$DATA/$USER_NAME.kubeconfig"
  done
)

start_etcd() {
  local client=http://127.0.0.1:$ETCD_PORT peer=http://127.0.0.1:$ETCD_PEER_PORT
  spawn etcd "$BINARIES/kube" etcd --name node --data-dir "$DATA/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "node=$peer"
}

start_containerd() {
  fill "$HERE/conf/containerd.toml" > "$DATA/containerd.toml"
  spawn containerd containerd --config "$DATA/containerd.toml"
}

start_apiserver() {
  local pki=$DATA/pki
  within 20 curl -fsS "http://127.0.0.1:$ETCD_PORT/health"
  spawn kube-apiserver "$BINARIES/kube" kube-apiserver --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address="$NODE" --advertise-address="$NODE" --secure-port="$API_PORT" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" --kubelet-preferred-address-types=InternalIP \
    --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-cluster-ip-range="$SERVICES" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
}

import_images() {
  local archive
  [ -s "$DATA/images/pause.tar" ] || pause_image
  within 20 ctr version
  for archive in "$DATA"/images/*.tar; do
    ctr images import "$archive" >> "$DATA/log/images.log"
  done
}

# The one image every pod needs; there is no registry to pull it from.
pause_image() {
  local root
  root=$(mktemp -d)
  mkdir -p "$DATA/images"
  cc -Os -static -s -o "$root/pause" "$HERE/pause.c"
  "$HERE/mkimage.py" "$DATA/images/pause.tar" "$PAUSE" "$root" --entrypoint /pause >> "$DATA/log/images.log"
  rm -r "$root"
}

start_controllers() {
  local name config
  within 60 kubectl get --raw /readyz
  for name in kube-controller-manager kube-scheduler; do
    config=$DATA/$name.kubeconfig
    set -- --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
      --leader-elect=false --bind-address=127.0.0.1
    # At the default rate a namespace's service account comes seconds late.
    [ $name = kube-scheduler ] || set -- "$@" --service-account-private-key-file="$DATA/pki/sa.key" \
      --root-ca-file="$DATA/pki/ca.crt" --use-service-account-credentials --kube-api-qps=500 --kube-api-burst=500
    spawn $name "$BINARIES/kube" $name "$@"
  done
}

start_node() {
  mkdir -p "$DATA/kubelet" "$DATA/podlogs"
  fill "$HERE/conf/kubelet.yaml" > "$DATA/kubelet.yaml"
  fill "$HERE/conf/kube-proxy.yaml" > "$DATA/kube-proxy.yaml"
  fill "$HERE/conf/Corefile" > "$DATA/Corefile"
  spawn kubelet "$BINARIES/kube" kubelet --config="$DATA/kubelet.yaml" --kubeconfig="$DATA/kubelet.kubeconfig" \
    --root-dir="$DATA/kubelet" --cert-dir="$DATA/pki/kubelet" --hostname-override=node --node-ip="$NODE"
  spawn kube-proxy "$BINARIES/kube" kube-proxy --config="$DATA/kube-proxy.yaml"
  spawn dns "$BINARIES/dns" -conf "$DATA/Corefile"
  within 60 kubectl wait --for=condition=Ready node/node --timeout=1s
  within 60 kubectl --namespace default get serviceaccount default
}

exports() {
  cat > "$ENVIRONMENT.part" <<X
export KUBECONFIG=$KUBECONFIG
export PATH=$BINARIES:\$PATH
# Where pods reach what runs on the host: brokers, etcd and Redis of a test listen here.
export KEYWEIR_HOST_ADDRESS=$NODE
X
  mv "$ENVIRONMENT.part" "$ENVIRONMENT"
}

is_up() { [ -e "$ENVIRONMENT" ] && kubectl get --raw /readyz > /dev/null 2>&1; }

"$HERE/build.sh" > /dev/null
exec 9> /run/keyweir-cluster.lock
flock 9
if ! is_up; then
  [ ! -e "$RUN" ] || "$HERE/down.sh" > /dev/null
  "$HERE/../setup/install.sh" cluster
  mkdir -p "$DATA/log" "$RUN/pids"
  network
  keys
  say "keys and network"
  start_etcd
  start_containerd
  start_apiserver
  import_images
  say "images"
  start_controllers
  say "API server ready"
  start_node
  exports
  say "node ready"
fi
echo "$ENVIRONMENT"
