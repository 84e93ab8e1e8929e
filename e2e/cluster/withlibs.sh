#!/bin/sh
# withlibs.sh ROOT FILE [AT]: puts a binary or library of the host into the directory ROOT (at AT, else where it lies on the host),
# and with it the loader and every library the loader would open, each at its own path.
set -eu
root=$1 file=$2 at=${3:-$2}
install -D -m 0755 "$file" "$root/$at"
# ldd prints "name => /path (address)" for a library and "/path (address)" for the loader; a static binary is no error.
{ ldd "$file" 2> /dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
  [ -e "$root$library" ] || install -D -m 0755 "$library" "$root$library"
done
