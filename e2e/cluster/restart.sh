#!/bin/bash
# restart.sh NAME [SECONDS]: kills a part of the cluster that runs (kubelet, kube-apiserver, etcd, ...) without a word, and
# starts it again as it was when so many seconds have gone by. It ends when the part does its work again.
set -euo pipefail
. "$(dirname "$0")/common.sh"

name=$1
pid=$(cat "$RUN/pids/$name")
mapfile -d '' -t command < "/proc/$pid/cmdline"
kill -KILL "$pid"
while [ -e "/proc/$pid/exe" ]; do sleep 0.02; done
say "$name is gone"
sleep "${2:-0}"
spawn "$name" "${command[@]}"
within 60 kubectl get --raw /readyz
case $name in
  # The address at which it serves itself: the node stays Ready for a while without it.
  kubelet) within 60 bash -c "> /dev/tcp/$NODE/10250" ;;
esac
say "$name is back"
