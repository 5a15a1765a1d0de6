#!/bin/bash
# kubernetes.sh
# Prints a directory that holds the Kubernetes programs for amd64, after it has filled it if need be:
# from an archive of an earlier build ($MACHINECTL_RIG_ARCHIVE, or the rig/cache folder of a `shared`
# folder beside the checkout; with a .sha256 file beside it), else from Debian's source package.
# The build takes 12 minutes on two cores and 4 GB in the cache.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

programs=(kubelet kubeadm kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
out=$CACHE/kubernetes-$K8S_VERSION
archive=${MACHINECTL_RIG_ARCHIVE:-$TOP/../shared/rig/cache/kubernetes-$K8S_VERSION-amd64.tar.xz}
src=$CACHE/src
export GOPATH=$CACHE/gopath GO111MODULE=off GOFLAGS=
tree=$GOPATH/src/k8s.io/kubernetes

# complete DIR: every program is there, runs here and is of the version.
complete() {
  local program
  for program in "${programs[@]}"; do
    case $program in
      kubectl) set -- "$1" version --client --short ;;
      kubeadm) set -- "$1" version -o short ;;
      *) set -- "$1" --version ;;
    esac
    "$1/$program" "${@:2}" 2>/dev/null | grep -qF "$K8S_VERSION" || return 1
  done
  [ -x "$1/pause" ]
}

# keep DIR: it becomes the answer of this script.
keep() {
  complete "$1" || return 1
  rm -rf "$out"
  mv "$1" "$out"
}

from_archive() {
  [ -f "$archive" ] || return 1
  (cd "$(dirname "$archive")" && sha256sum --quiet -c "$(basename "$archive").sha256") >&2 || {
    say "not used, because its checksum is wrong: $archive"
    return 1
  }
  say "unpacking $archive"
  rm -rf "$out.new"
  mkdir -p "$out.new"
  if ! { tar -xJf "$archive" -C "$out.new" && keep "$out.new"; }; then
    say "not used, because it lacks programs of $K8S_VERSION: $archive"
    return 1
  fi
}

# The source package is fetched with an apt configuration of its own: the system's has no deb-src lines.
fetch() {
  local mirror apt=$src/apt options
  ls "$src"/kubernetes_*.orig.tar.gz "$src"/kubernetes_*.debian.tar.xz "$src"/golang-github-modern-go-reflect2-dev_*.deb >/dev/null 2>&1 && return 0
  mirror=$(debian_mirror)
  mkdir -p "$apt"/{lists,cache/archives}/partial
  printf '%s %s %s main\n' deb "$mirror" "$SUITE" deb-src "$mirror" "$SUITE" >"$apt/sources.list"
  options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  cd "$src"
  logged source-lists.log apt-get "${options[@]}" update
  logged source-fetch.log apt-get "${options[@]}" source --download-only kubernetes
  logged reflect2-fetch.log apt-get "${options[@]}" download golang-github-modern-go-reflect2-dev
  cd - >/dev/null
}

unpack() {
  local patch reflect2=$tree/vendor/github.com/modern-go/reflect2
  [ ! -f "$tree/.unpacked" ] || return 0
  rm -rf "$tree"
  mkdir -p "$tree"
  tar -xzf "$src"/kubernetes_*.orig.tar.gz -C "$tree" --strip-components=1
  tar -xJf "$src"/kubernetes_*.debian.tar.xz -C "$tree"
  while read -r patch; do
    case $patch in '' | '#'*) continue ;; esac
    patch -d "$tree" -p1 -s <"$tree/debian/patches/$patch"
  done <"$tree/debian/patches/series"
  # The vendored reflect2 1.0.1 walks the runtime's maps, which Go 1.18 changed: all would build and
  # then die of a nil pointer at the first object that has a map. Debian has 1.0.2 as a package.
  rm -rf "$src/reflect2" "$reflect2"/*.go "$reflect2"/*.s
  dpkg -x "$src"/golang-github-modern-go-reflect2-dev_*.deb "$src/reflect2"
  cp "$src"/reflect2/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$reflect2/"
  touch "$tree/.unpacked"
}

from_source() {
  local program
  on_debian || die "no archive of Kubernetes $K8S_VERSION, and it is built on Debian only"
  apt_install golang-1.19-go golang-go jq rsync gcc libc6-dev make patch xz-utils dpkg-dev ca-certificates
  mkdir -p "$src"
  fetch
  unpack
  say "building Kubernetes $K8S_VERSION (minutes; log $CACHE/kubernetes-build.log)"
  PATH=/usr/lib/go-1.19/bin:$PATH logged kubernetes-build.log \
    make -C "$tree" WHAT="${programs[*]/#/cmd/}" GOLDFLAGS='-s -w' FORCE_HOST_GO=y
  rm -rf "$out.new"
  mkdir -p "$out.new"
  for program in "${programs[@]}"; do install -m 755 "$tree/_output/bin/$program" "$out.new/"; done
  gcc -Os -Wall -static -s -DVERSION=3.2 -o "$out.new/pause" "$tree/build/pause/linux/pause.c"
  keep "$out.new" || die "built, but not every program says $K8S_VERSION"
}

[ "$(uname -sm)" = 'Linux x86_64' ] || die "the rig is for Linux on amd64"
one_at_a_time
[ -x "$out/pause" ] || from_archive || from_source
printf '%s\n' "$out"
