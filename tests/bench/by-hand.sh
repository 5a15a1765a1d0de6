#!/bin/bash
# by-hand.sh NAME IMAGE
# What a person types to get the cluster that `machinectl create cluster NAME` makes: a control plane and one
# worker, both Ready, a pod running on the worker, and a kubeconfig. Leaves the containers; the caller removes them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR/../rig source=../rig/lib.sh
. "$(dirname "$0")/../rig/lib.sh"
name=$1 image=$2 worker=$1-worker-1
node_flags
docker network inspect cinder >/dev/null 2>&1 || docker network create cinder >/dev/null
kubectl=(docker exec -i "$name" kubectl --kubeconfig /etc/kubernetes/admin.conf)
label=io.x-k8s.kind.cluster=$name

run_node() { # run_node NAME FLAG...
  local node=$1
  shift
  docker run --detach --name "$node" --hostname "$node" --network cinder --label "$label" "${flags[@]}" "$@" "$image" >/dev/null
  until docker exec "$node" ctr version >/dev/null 2>&1; do sleep 0.1; done
}
registration='nodeRegistration:
  criSocket: /run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification, Swap, NumCPU, Mem, ImagePull, FileExisting-tc,
    FileContent--proc-sys-net-bridge-bridge-nf-call-iptables, FileContent--proc-sys-net-bridge-bridge-nf-call-ip6tables]'

run_node "$name" --publish 127.0.0.1::6443
docker exec -i "$name" sh -c 'cat >/etc/kubernetes/kubeadm.yaml' <<END
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
bootstrapTokens: [{token: abcdef.0123456789abcdef}]
$registration
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: $K8S_VERSION
controlPlaneEndpoint: $name:6443
apiServer: {certSANs: [localhost, 127.0.0.1]}
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0}
END
docker exec "$name" kubeadm init --config /etc/kubernetes/kubeadm.yaml >/dev/null 2>&1
docker exec "$name" sh -c 'sed "s#{{ .PodSubnet }}#10.244.0.0/16#" /kind/manifests/default-cni.yaml; echo ---; cat /kind/manifests/default-storage.yaml' |
  "${kubectl[@]}" apply -f - >/dev/null
hash=$(docker exec "$name" sh -c 'openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt 2>/dev/null | openssl pkey -pubin -outform DER | sha256sum' | cut -d' ' -f1) || hash=
run_node "$worker"
docker exec -i "$worker" sh -c 'cat >/etc/kubernetes/join.yaml' <<END
apiVersion: kubeadm.k8s.io/v1beta2
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: $name:6443
    token: abcdef.0123456789abcdef
    caCertHashes: [sha256:$hash]
$registration
END
docker exec "$worker" kubeadm join --config /etc/kubernetes/join.yaml >/dev/null 2>&1
ready() { [ "$("${kubectl[@]}" get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')" = "True True" ]; }
runs() { "${kubectl[@]}" get pods -A --field-selector "spec.nodeName=$worker,status.phase=Running" -o name | grep -q .; }
until ready; do sleep 0.2; done
until runs; do sleep 0.2; done
