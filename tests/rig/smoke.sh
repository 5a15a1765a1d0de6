#!/bin/bash
# smoke.sh [IMAGE]
# Proves that the node image works here: boots one node, makes a control plane of it with kubeadm, waits for
# the node and for a pod on it, applies the image's manifests, and removes it all again.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
image=${1:-$NODE_IMAGE} name=rig-smoke-$$
kubectl=(docker exec -i "$name" kubectl --kubeconfig /etc/kubernetes/admin.conf)

node_flags

# within SECONDS WHAT COMMAND...
within() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "not in time: $what"
    sleep 0.2
  done
  say "$what"
}
booted() { docker exec "$name" sh -c 'systemctl is-system-running --wait; ctr version'; }
ready() { "${kubectl[@]}" get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
runs() { "${kubectl[@]}" get pods -A -o "jsonpath={.items[?(@.metadata.labels.$1)].status.phase}" | grep -q Running; }

trap 'docker rm -fv "$name" >/dev/null 2>&1' EXIT
docker run --detach --name "$name" --hostname "$name" "${flags[@]}" "$image" >/dev/null
say "container started: ${flags[*]}"
within 60 "systemd and containerd are up" booted

docker exec -i "$name" sh -c 'cat >/etc/kubernetes/kubeadm.yaml' <<'END'
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration:
  criSocket: /run/containerd/containerd.sock
  taints: [] # its only node
  ignorePreflightErrors: # ImagePull: there is no CoreDNS image
  - SystemVerification
  - Swap
  - NumCPU
  - Mem
  - ImagePull
  - FileExisting-tc
  - FileContent--proc-sys-net-bridge-bridge-nf-call-iptables
  - FileContent--proc-sys-net-bridge-bridge-nf-call-ip6tables
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v1.20.2
networking:
  podSubnet: 10.244.0.0/16
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failSwapOn: false
nodeStatusUpdateFrequency: 1s
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0}
END
logged smoke-init.log docker exec "$name" kubeadm init --config /etc/kubernetes/kubeadm.yaml
say "kubeadm init"
within 60 "the node is Ready" ready
within 60 "kube-proxy runs" runs k8s-app

docker exec "$name" sh -c 'sed "s#{{ .PodSubnet }}#10.244.0.0/16#" /kind/manifests/default-cni.yaml; echo ---; cat /kind/manifests/default-storage.yaml' |
  "${kubectl[@]}" apply --server-side -f - >&2
within 30 "a pod was accepted" "${kubectl[@]}" run pause --image "$REPO/pause:3.2" --labels smoke=pod
within 60 "the pod runs" runs smoke
"${kubectl[@]}" get nodes,pods -A -o wide >&2
docker stop "$name" >/dev/null
say "stopped, exit code $(docker inspect -f '{{.State.ExitCode}}' "$name")"
