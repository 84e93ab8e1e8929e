#!/bin/bash
# down.sh [--wipe]: ends the cluster and undoes what it did to the machine, whatever state it is in.
# Keys and images stay for the next start; --wipe removes them too, with the logs.
set -uo pipefail
. "$(dirname "$0")/common.sh"

BINARIES_OF_ANY='/cluster-[0-9a-f]+/(kube|dns)' # a checkout that has changed since must still find them

# stop NAME: nothing in the cluster is worth a graceful end
stop() {
  local pid
  pid=$(cat "$RUN/pids/$1" 2> /dev/null) || return 0
  # A pid that an earlier boot left behind may be anybody's by now.
  grep -qaE "$BINARIES_OF_ANY|^containerd" "/proc/$pid/cmdline" 2> /dev/null || return 0
  kill -KILL "$pid" 2> /dev/null
  while [ -e "/proc/$pid/exe" ]; do sleep 0.02; done
}

processes() {
  local name
  for name in kubelet kube-proxy dns kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do
    stop $name
  done
}

# The shims outlive containerd, and the pods outlive the shims: found by the socket they were told, and by their cgroup.
pods() {
  local process members
  for process in /proc/[0-9]*; do
    [ "$(readlink "$process/exe")" = /usr/bin/containerd-shim-runc-v2 ] || continue
    tr '\0' ' ' < "$process/cmdline" | grep -q -- "-address $SOCKET" && kill -KILL "${process#/proc/}"
  done 2> /dev/null
  for _ in $(seq 50); do
    members=$(find /sys/fs/cgroup -path '*/kubepods/*' -name cgroup.procs -exec cat {} + 2> /dev/null | sort -u)
    [ -n "$members" ] || break
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $members 2> /dev/null
    sleep 0.1
  done
  find /sys/fs/cgroup -depth -type d \( -name kubepods -o -path '*/kubepods/*' \) -exec rmdir {} \; 2> /dev/null
}

mounts() {
  awk -v data="$DATA/" -v run="$RUN/" 'index($5, data) == 1 || index($5, run) == 1 { print $5 }' /proc/self/mountinfo |
    sort -r | xargs -r -n 1 umount -l
}

links() {
  ip netns list 2> /dev/null | awk '/^cni-/ { print $1 }' | xargs -r -n 1 ip netns delete
  ip -o link show master "$BRIDGE" 2> /dev/null | awk -F '[:@ ]+' '{ print $2 }' | xargs -r -n 1 ip link delete 2> /dev/null
  ip link delete "$BRIDGE" 2> /dev/null
}

# Removes the chains that kube-proxy, kubelet and the CNI plugins made, and the jumps that lead to them.
firewall() {
  local program table saved chains
  for program in iptables ip6tables; do
    command -v $program > /dev/null || continue
    for table in nat filter mangle; do
      saved=$($program-save -t $table 2> /dev/null)
      chains=$(sed -n 's/^:\(\(KUBE\|CNI\)-[^ ]*\).*/\1/p' <<< "$saved")
      [ -n "$chains" ] || continue
      {
        echo "*$table"
        grep -vE '^-A (KUBE|CNI)-' <<< "$saved" | sed -nE 's/^-A ([^ ]+ .*(KUBE|CNI)-)/-D \1/p'
        sed 's/^/-F /' <<< "$chains"
        sed 's/^/-X /' <<< "$chains"
        echo COMMIT
      } | $program-restore -n || echo "$program: rules left in table $table" >&2
    done
  done
}

files() {
  [ -s "$RUN/sysctl.before" ] && xargs -r -n 1 sysctl -qw < "$RUN/sysctl.before" 2> /dev/null
  rm -rf --one-file-system "$RUN" "$DATA"/{containerd,kubelet,ipam,podlogs,etcd} /var/lib/cni/results /var/lib/kubelet/device-plugins
  # Shims and kubelet write here, whatever directories they are told.
  find /var/log/containers -xtype l -delete 2> /dev/null
  rm -rf --one-file-system /run/containerd/runc/k8s.io
  [ -S /run/containerd/containerd.sock ] || rm -rf --one-file-system /run/containerd
  rmdir /var/log/containers /var/log/pods /var/lib/kubelet /var/lib/cni /run/netns 2> /dev/null
}

processes
pods
mounts
links
firewall
files
[ "${1:-}" = --wipe ] && rm -rf --one-file-system "$DATA"
say "cluster down"
