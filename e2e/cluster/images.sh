#!/bin/bash
# images.sh [IMAGE...]: makes the project's images (all, or those named) as OCI archives in target/images, with a list of
# names, digests and files in target/images/images.txt, and puts them into the cluster when one is up.
#
#   keyweir-operator, keyweir-worker   the two programs, each with the libraries it loads and nothing else
#   keyweir                            the command a person types, for pods that send and look
#   keyweir-test-handler               Python and handler/handler.py, for the tests
#   etcd, kafka                        what the chart's tryouts start, under the names of the public images: the etcd that is
#                                      built with Kubernetes, the jars of e2e/kafka with this machine's Java
#
# The last two are made once and kept in the cache: nothing of ours is in them.
# KEYWEIR_BUILT=1 takes the programs as they lie in target/release: a test's own build made them.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$HERE/../.."
BUILT=${CARGO_TARGET_DIR:-target}/release
OUT=${CARGO_TARGET_DIR:-target}/images
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
NOBODY=65532

# What every root has: a user without rights, the authorities for TLS, a place for temporary files.
base() {
  install -d -m 0755 "$1"/etc/ssl/certs
  install -d -m 1777 "$1"/tmp
  echo "nobody:x:$NOBODY:$NOBODY::/:/none" > "$1/etc/passwd"
  echo "nobody:x:$NOBODY:" > "$1/etc/group"
  echo "hosts: files dns" > "$1/etc/nsswitch.conf"
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

# archive NAME ROOT ENTRYPOINT...: adds a line to the list
archive() {
  local name=$1 root=$2 digest
  shift 2
  digest=$("$HERE/mkimage.py" "$OUT/$name.tar" "localhost/$name:$VERSION" "$root" "${@/#/--entrypoint=}" \
    --user $NOBODY:$NOBODY --label "org.opencontainers.image.version=$VERSION")
  echo "localhost/$name:$VERSION $digest $name.tar" | tee -a "$OUT/images.part"
}

# kept NAME REFERENCE FUNCTION KEY...: the archive of an image that is the same as long as its key is
kept() {
  local name=$1 reference=$2 make=$3 place root
  shift 3
  place=$CACHE/image-$name-$(cat "$HERE/images.sh" "$HERE/mkimage.py" "$@" | sha256sum | cut -c1-12)
  if [ ! -e "$place/digest" ]; then
    root=$(mktemp -d)
    base "$root"
    "$make" "$root"
    mkdir -p "$place"
    "$HERE/mkimage.py" "$place/image.tar" "$reference" "$root" --user $NOBODY:$NOBODY > "$place/digest.part"
    mv "$place/digest.part" "$place/digest"
    rm -r "$root"
  fi
  ln -f "$place/image.tar" "$OUT/$name.tar" 2> /dev/null || cp "$place/image.tar" "$OUT/$name.tar"
  echo "$reference $(cat "$place/digest") $name.tar" | tee -a "$OUT/images.part"
}

etcd() {
  install -D -m 0755 "$("$HERE/build.sh")/kube" "$1/usr/local/bin/etcd"
}

# The public image's scripts by their names, with what the chart asks of them.
kafka() {
  local root=$1 java file
  java=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  mkdir -p "$root/opt/kafka/bin" "$root/opt/java"
  mvn -q -B -f "$HERE/../kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$root/opt/kafka/libs" > /dev/null
  cp "$HERE/../kafka/log4j2.yaml" "$root/opt/kafka/"
  tar -C "$java" -ch --ignore-failed-read --exclude=./{jmods,include,man,legal,docs,demo} --exclude='*.zip' --exclude=ct.sym . 2> /dev/null |
    tar -C "$root/opt/java" -x
  for file in "$java"/bin/java "$java"/lib/*.so "$java"/lib/server/*.so; do
    "$HERE/withlibs.sh" "$root" "$file" "opt/java/${file#"$java"/}"
  done
  "$HERE/withlibs.sh" "$root" "$(readlink -f /bin/sh)" bin/sh
  script() {
    printf '#!/bin/sh\nexec /opt/java/bin/java %s -Dlog4j2.configurationFile=/opt/kafka/log4j2.yaml -cp "/opt/kafka/libs/*" %s "$@"\n' \
      "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 \$KAFKA_HEAP_OPTS" "$2" > "$root/opt/kafka/bin/$1"
    chmod 755 "$root/opt/kafka/bin/$1"
  }
  script kafka-storage.sh kafka.tools.StorageTool
  script kafka-server-start.sh kafka.Kafka
}

program() {
  base "$2"
  strip --strip-debug -o "$2/program" "$BUILT/$1"
  "$HERE/withlibs.sh" "$2" "$2/program" "usr/local/bin/$1"
  rm "$2/program"
  archive "$1" "$2" "/usr/local/bin/$1"
}

handler() {
  local name=$1 root=$2 python library
  base "$root"
  read -r python library < <(python3 -c 'import os, sys, sysconfig
print(os.path.realpath(sys.executable), sysconfig.get_paths()["stdlib"])')
  "$HERE/withlibs.sh" "$root" "$python" usr/bin/python3
  mkdir -p "$root/usr/lib/${library##*/}"
  tar -C "$library" -c --exclude={__pycache__,site-packages,dist-packages,test,tests,idlelib,tkinter,lib2to3,ensurepip,'config-*'} . |
    tar -C "$root/usr/lib/${library##*/}" -x
  for extension in "$library"/lib-dynload/*.so; do
    "$HERE/withlibs.sh" "$root" "$extension" "usr/lib/${library##*/}/lib-dynload/${extension##*/}"
  done
  install -D -m 0755 "$HERE/handler/handler.py" "$root/usr/local/bin/handler"
  archive "$name" "$root" /usr/bin/python3 -B /usr/local/bin/handler
}

# The same selection of packages as everywhere, so that nothing is compiled twice.
build() {
  [ "${KEYWEIR_BUILT:-}" = 1 ] || nice cargo build --quiet --release --locked --workspace --bins --tests
}

make_image() {
  local root
  root=$(mktemp -d)
  case $1 in
    keyweir-operator | keyweir-worker | keyweir) program "$1" "$root" ;;
    keyweir-test-handler) handler "$1" "$root" ;;
    etcd) kept etcd "localhost/coreos/etcd:$(sed -n 's|.*go.etcd.io/etcd/server/v3 \(v[^ ]*\).*|\1|p' "$HERE/binaries/go.mod" | head -n 1)" etcd "$HERE/binaries/go.sum" ;;
    kafka) kept kafka "localhost/apache/kafka:$(sed -n '/kafka_2/{n;s|.*<version>\(.*\)</version>.*|\1|p}' "$HERE/../kafka/pom.xml")" kafka "$HERE/../kafka/pom.xml" <(java -version 2>&1) ;;
    *) echo "images.sh: no image $1" >&2 && exit 1 ;;
  esac
  rm -r "$root"
}

[ $# -gt 0 ] || set -- keyweir-operator keyweir-worker keyweir keyweir-test-handler etcd kafka
[[ " $* " != *" keyweir-operator "* && " $* " != *" keyweir-worker "* && " $* " != *" keyweir "* ]] || build
mkdir -p "$OUT"
touch "$OUT/images.txt"
# What is not made now keeps its line.
grep -vE " ($(IFS='|' && echo "$*"))\.tar$" "$OUT/images.txt" > "$OUT/images.part" || true
for image in "$@"; do
  make_image "$image"
  [ ! -e "$ENVIRONMENT" ] || ctr images import "$OUT/$image.tar" > /dev/null
done
sort -o "$OUT/images.txt" "$OUT/images.part"
rm "$OUT/images.part"
du -sh "$OUT" | sed 's/^\([^\t]*\).*/the images take \1/'
