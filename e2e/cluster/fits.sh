#!/bin/bash
# fits.sh: whether this machine can carry a node. Prints what it lacks, a line each, and fails then; changes nothing.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

lacks=()
# free DIRECTORY: megabytes on its disk; the directory need not exist yet
free() {
  local place=$1
  until [ -d "$place" ]; do place=$(dirname "$place"); done
  df --output=avail -m "$place" | tail -n 1 | tr -d ' '
}
# disk DIRECTORY MEGABYTES WHAT
disk() { [ "$(free "$1")" -ge "$2" ] || lacks+=("$3: $2 MB of disk at $1, $(free "$1") are free"); }
# can WHAT COMMAND...
can() {
  local what=$1
  shift
  "$@" > /dev/null 2>&1 || lacks+=("$what")
}

overlay() {
  # shellcheck disable=SC2016 # the inner shell's variable
  unshare --mount bash -c 'd=$(mktemp -d) && mount -t tmpfs none "$d" && mkdir "$d"/{a,b,w,m} &&
    mount -t overlay overlay -o "lowerdir=$d/a,upperdir=$d/b,workdir=$d/w" "$d/m" && umount "$d/m" && umount "$d" && rmdir "$d"'
}
cgroups() {
  local name=kwfits.$$ controller
  for controller in memory pids; do
    if [ -d /sys/fs/cgroup/$controller ]; then
      mkdir "/sys/fs/cgroup/$controller/$name" && rmdir "/sys/fs/cgroup/$controller/$name" || return 1
    else
      grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers || return 1
    fi
  done
}
bridges() { ip link add kwfits$$ type bridge && ip link delete kwfits$$; }

if [ "$(id -u)" != 0 ]; then
  lacks+=("the rights of root")
else
  [ -e "$BINARIES/complete" ] || disk "$CACHE" 6000 "building Kubernetes"
  disk "$DATA" 1000 "images and stores"
  can "network namespaces" unshare --net true
  can "bridges" bridges
  can "filtering of what crosses a bridge" sysctl -n net.bridge.bridge-nf-call-iptables
  can "overlay file systems" overlay
  can "control groups" cgroups
  can "iptables" iptables --wait 5 -t nat -S
fi
[ ${#lacks[@]} = 0 ] || { printf '%s\n' "${lacks[@]}"; exit 1; }
