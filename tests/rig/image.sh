#!/bin/bash
# image.sh
# Builds the node image from Debian packages and the programs of kubernetes.sh, in the layout of a
# kindest/node image. Does nothing where the image was made from the files as they are now.
# Stages in the cache, each used again until it is deleted:
#   base/      debootstrap
#   packages/  base and the packages of a node
# The rest is made each time: the images of the control plane, preloaded into the node's containerd.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
one_at_a_time

packages=(systemd systemd-sysv dbus containerd runc containernetworking-plugins iptables ebtables ipset conntrack
  ethtool socat iproute2 iputils-ping kmod util-linux procps curl ca-certificates)
base=$CACHE/base node=$CACHE/packages work=$CACHE/work
inputs=$(cd "$RIG" && cat lib.sh kubernetes.sh image.sh node/* | sha256sum | cut -d' ' -f1)

docker_answers || die "no Docker daemon answers (dockerd.sh start begins one)"
if [ "$(docker image inspect -f '{{index .Config.Labels "rig.inputs"}}' "$NODE_IMAGE" 2>/dev/null)" = "$inputs" ]; then
  say "$NODE_IMAGE is up to date"
  exit 0
fi
[ "$(id -u)" = 0 ] || die "only root can build $NODE_IMAGE (debootstrap and chroot)"
on_debian || die "$NODE_IMAGE is built on Debian only"
apt_install debootstrap xz-utils
bin=$("$RIG/kubernetes.sh")
etcd=$(etcd_program)

make_base() {
  [ ! -d "$base" ] || return 0
  say "debootstrap"
  rm -rf "$base.new"
  logged debootstrap.log debootstrap --variant=minbase "$SUITE" "$base.new" "$(debian_mirror)"
  mv "$base.new" "$base"
}

make_packages() {
  [ "$(cat "$node.list" 2>/dev/null)" != "${packages[*]}" ] || return 0
  say "packages of a node"
  local root=$node.new
  rm -rf "$root" "$node" "$node.list"
  cp -a "$base" "$root"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # start no service
  chmod +x "$root/usr/sbin/policy-rc.d"
  printf 'path-exclude=/usr/share/%s/*\n' doc man locale info lintian bash-completion zoneinfo >"$root/etc/dpkg/dpkg.cfg.d/slim"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  export DEBIAN_FRONTEND=noninteractive
  logged node-lists.log chroot "$root" apt-get -q -y update
  logged node-packages.log chroot "$root" apt-get -q -y install --no-install-recommends "${packages[@]}"
  chroot "$root" apt-get clean
  rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/* "$root"/var/cache/{apt,debconf}/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,info,lintian,bash-completion,zoneinfo}/* "$root"/usr/share/locale/*
  mv "$root" "$node"
  echo "${packages[*]}" >"$node.list"
}

# put ROOT FILE...: copy files of the node into another root, with what links lead to and the libraries they load.
put() {
  local root=$1 file real
  shift
  for file in "$@" $(chroot "$node" ldd "$@" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' | sort -u); do
    real=$(chroot "$node" readlink -f "$file")
    mkdir -p "$root/$(dirname "$file")" "$root/$(dirname "$real")"
    [ -e "$root$real" ] || cp -a "$node$real" "$root$real"
    [ -e "$root$file" ] || ln -s "$real" "$root$file"
  done
}

# root_of NAME: an empty root directory.
root_of() {
  local root=$work/roots/$1
  mkdir -p "$root"/{etc,tmp,usr/{bin,sbin,lib,lib64,local/bin}}
  chmod 1777 "$root/tmp"
  ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root/"
  echo 'root:x:0:0:root:/:/sbin/nologin' >"$root/etc/passwd"
  echo "$root"
}

# add_image STORE REF ROOT CONFIG [COMPRESS]: one image of one layer, into a folder of docker save's layout.
# Layers that a node unpacks are compressed a little: a quarter of the size for a second of work.
add_image() {
  local store=$1 ref=$2 root=$3 config=$4 compress=${5:-cat} layer id
  mkdir -p "$store"
  tar -C "$root" --numeric-owner --xattrs --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -cf "$store/new" .
  layer=$(sha256sum "$store/new" | cut -d' ' -f1)
  if [ "$compress" = cat ]; then mv "$store/new" "$store/$layer.tar"; else
    $compress <"$store/new" >"$store/$layer.tar"
    rm "$store/new"
  fi
  cat >"$store/new.json" <<JSON
{"architecture":"amd64","os":"linux","created":"$(date -u +%FT%TZ)","config":$config,"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
JSON
  id=$(sha256sum "$store/new.json" | cut -d' ' -f1)
  mv "$store/new.json" "$store/$id.json"
  printf '%s{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s.tar"]}' "$([ ! -f "$store/list" ] || echo ,)" "$id" "$ref" "$layer" >>"$store/list"
  printf '[%s]\n' "$(cat "$store/list")" >"$store/manifest.json"
}

# What kubeadm of this version runs in pods, but for CoreDNS: Debian has no version that old.
make_control_plane_images() {
  say "images of the control plane"
  local store=$work/control-plane root name env='"Env":["PATH=/usr/local/bin:/usr/bin:/usr/sbin"]'
  root=$(root_of pause)
  cp "$bin/pause" "$root/pause"
  add_image "$store" "$REPO/pause:3.2" "$root" "{\"Entrypoint\":[\"/pause\"],$env}" 'gzip -1'
  for name in kube-apiserver kube-controller-manager kube-scheduler; do
    root=$(root_of $name)
    cp "$bin/$name" "$root/usr/local/bin/"
    add_image "$store" "$REPO/$name:$K8S_VERSION" "$root" "{\"Entrypoint\":[\"/usr/local/bin/$name\"],$env}" 'gzip -1'
  done
  root=$(root_of etcd)
  cp "$etcd" "$node/tmp/etcd"
  put "$root" /tmp/etcd
  rm "$node/tmp/etcd"
  mv "$root/tmp/etcd" "$root/usr/local/bin/"
  add_image "$store" "$REPO/etcd:3.4.13-0" "$root" "{\"Entrypoint\":[\"/usr/local/bin/etcd\"],$env}" 'gzip -1'
  # kube-proxy runs these; it needs no shell
  root=$(root_of kube-proxy)
  cp "$bin/kube-proxy" "$root/usr/local/bin/"
  put "$root" /usr/sbin/{xtables-nft-multi,xtables-legacy-multi,conntrack,ipset} /usr/bin/kmod
  for name in ip{,6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$root/usr/sbin/$name"; done
  ln -s ../bin/kmod "$root/usr/sbin/modprobe"
  cp -a "$node/usr/lib/x86_64-linux-gnu/xtables" "$root/usr/lib/x86_64-linux-gnu/"
  add_image "$store" "$REPO/kube-proxy:$K8S_VERSION" "$root" "{\"Entrypoint\":[\"/usr/local/bin/kube-proxy\"],$env}" 'gzip -1'
}

make_node() {
  say "root of the node"
  local root=$work/node files=$RIG/node unit
  cp -a "$node" "$root"
  install -m 755 "$bin"/{kubelet,kubeadm,kubectl} "$files/crictl" "$root/usr/bin/"
  install -m 755 "$files/entrypoint" "$root/usr/local/bin/"
  install -D -m 644 -t "$root/etc/systemd/system" "$files/kubelet.service"
  install -D -m 644 -t "$root/etc/systemd/system/kubelet.service.d" "$files/10-kubeadm.conf"
  install -D -m 644 "$files/containerd.toml" "$root/etc/containerd/config.toml"
  install -D -m 644 "$files/cni-template.conflist" "$root/etc/cni/template.conflist"
  install -D -m 644 -t "$root/kind/manifests" "$files"/default-{cni,storage}.yaml
  printf %s "$K8S_VERSION" >"$root/kind/version"
  mkdir -p "$root"/{etc/cni/net.d,opt/cni/bin,etc/kubernetes/manifests,var/lib/kubelet}
  mv "$root"/usr/lib/cni/{bridge,host-local,portmap,loopback,ptp} "$root/opt/cni/bin/"
  rm -rf "$root/usr/lib/cni"

  # a container, not a machine: no udev, no login, no kernel log, no file system check
  local system=$root/etc/systemd/system lib=$root/lib/systemd/system
  rm -f "$system"/*.wants/* "$lib"/{multi-user,local-fs,basic}.target.wants/* "$lib"/sockets.target.wants/*{udev,initctl}*
  find "$lib/sysinit.target.wants" -type l ! -name systemd-tmpfiles-setup.service ! -name 'systemd-journal*' ! -name systemd-sysctl.service -delete
  for unit in getty.target console-getty.service systemd-{logind,networkd,resolved,timesyncd}.service; do
    ln -sf /dev/null "$system/$unit"
  done
  install -D -m 644 /dev/stdin "$root/etc/systemd/journald.conf.d/node.conf" <<<$'[Journal]\nReadKMsg=no\nStorage=volatile\nForwardToConsole=no'
  # its modprobe cannot work in a container, and must not keep containerd from starting
  install -D -m 644 /dev/stdin "$system/containerd.service.d/node.conf" <<<$'[Service]\nExecStartPre='
  ln -sf /lib/systemd/system/multi-user.target "$system/default.target"
  mkdir -p "$system/multi-user.target.wants"
  ln -s /lib/systemd/system/containerd.service /etc/systemd/system/kubelet.service "$system/multi-user.target.wants/"
  : >"$root/etc/machine-id"
  rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

  say "preloading the images"
  tar -C "$work/control-plane" -cf "$root/tmp/images.tar" --exclude=./list .
  # the node's own containerd, in namespaces that end with it
  # shellcheck disable=SC2016  # for the inner shell
  logged preload.log unshare -m -p -f --mount-proc="$root/proc" chroot "$root" /bin/bash -euc '
    ctr() { command ctr -a /tmp/ct/socket -n k8s.io "$@"; }
    mkdir /tmp/ct
    containerd --config /dev/null --root /var/lib/containerd --state /tmp/ct/state -a /tmp/ct/socket &
    for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
    ctr images import --no-unpack /tmp/images.tar
    kill %1
    wait %1 || true'
  rm -rf "$root"/tmp/* "$root"/run/*
}

load_node() {
  say "loading $NODE_IMAGE"
  add_image "$work/image" "$NODE_IMAGE" "$work/node" '{
    "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
    "Volumes": {"/var": {}},
    "StopSignal": "SIGRTMIN+3",
    "Labels": {"rig.inputs": "'"$inputs"'"}}'
  local old
  old=$(docker image inspect -f '{{.Id}}' "$NODE_IMAGE" 2>/dev/null || true)
  tar -C "$work/image" --exclude=./list -cf - . | docker load -q >/dev/null
  [ -z "$old" ] || docker rmi "$old" >/dev/null 2>&1 || true # kept while a container uses it
}

rm -rf "$work"
make_base
make_packages
make_control_plane_images
make_node
load_node
rm -rf "$work"
say "$NODE_IMAGE: $(($(docker image inspect -f '{{.Size}}' "$NODE_IMAGE") / 1048576)) MiB"
