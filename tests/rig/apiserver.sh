#!/bin/bash
# apiserver.sh start [DIR] | stop [DIR]
# A bare Kubernetes API: etcd and kube-apiserver on free ports of the loopback interface, with certificates of
# their own, RBAC on, and no controllers (hence no ServiceAccount admission: nobody would make the tokens).
# `start` prints the path of an administrator's kubeconfig. All state is in DIR; `stop` leaves only the logs.
# MACHINECTL_RIG_DURABLE=1: etcd syncs what it writes, as it does in earnest; tests need not wait for the disk.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
action=${1:-} dir=${2:-$CACHE/apiserver}
kubeconfig=$dir/kubeconfig

# free_ports COUNT: different ports, from below the range of outgoing connections, on which nobody listens
free_ports() {
  local port n=0
  for port in $(shuf -i 20000-32000 -n 200); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    echo "$port"
    n=$((n + 1))
    [ "$n" -lt "$1" ] || return 0
  done
}

# certificate NAME SUBJECT USAGE [ALTERNATIVE NAMES]: signed by the CA
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$dir/pki/$1.key" -out "$dir/pki/$1.csr"
  openssl x509 -req -days 30 -in "$dir/pki/$1.csr" -CA "$dir/pki/ca.crt" -CAkey "$dir/pki/ca.key" -CAcreateserial -out "$dir/pki/$1.crt" \
    -extfile <(printf '%s\n' 'keyUsage=critical,digitalSignature' "extendedKeyUsage=$3" "${4:+subjectAltName=$4}")
}

certificates() {
  mkdir -p "$dir/pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=kubernetes \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -keyout "$dir/pki/ca.key" -out "$dir/pki/ca.crt"
  certificate apiserver /CN=kube-apiserver serverAuth IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc
  certificate admin /O=system:masters/CN=kubernetes-admin clientAuth
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/pki/sa.key" # kube-apiserver reads no EC key in PKCS 8
}

write_kubeconfig() { # PORT
  local pki=$dir/pki
  cat >"$kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
- name: apiserver
  cluster: {server: "https://127.0.0.1:$1", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
- name: admin
  user: {client-certificate-data: $(base64 -w0 "$pki/admin.crt"), client-key-data: $(base64 -w0 "$pki/admin.key")}
contexts:
- name: admin@apiserver
  context: {cluster: apiserver, user: admin}
current-context: admin@apiserver
END
}

start() {
  local bin etcd ports api_port etcd_port peer_port pki=$dir/pki sync=--unsafe-no-fsync
  [ -z "${MACHINECTL_RIG_DURABLE:-}" ] || sync=
  if alive "$dir/kube-apiserver.pid" kube-apiserver; then
    say "running already"
    echo "$kubeconfig"
    return
  fi
  bin=$("$RIG/kubernetes.sh")
  etcd=$(etcd_program)
  halt
  (umask 077 && mkdir -p "$dir")
  (umask 077 && logged apiserver-certificates.log certificates)
  mapfile -t ports < <(free_ports 3)
  api_port=${ports[0]} etcd_port=${ports[1]} peer_port=${ports[2]}

  # shellcheck disable=SC2086  # one flag or none
  setsid nohup "$etcd" --data-dir "$dir/etcd" $sync --logger zap --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port" >"$dir/etcd.log" 2>&1 </dev/null &
  echo $! >"$dir/etcd.pid"
  setsid nohup "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
    --bind-address 127.0.0.1 --secure-port "$api_port" --advertise-address 127.0.0.1 --endpoint-reconciler-type none \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file "$pki/sa.key" \
    --service-account-key-file "$pki/sa.key" --service-cluster-ip-range 10.96.0.0/16 \
    --authorization-mode Node,RBAC --enable-bootstrap-token-auth --allow-privileged \
    --disable-admission-plugins ServiceAccount >"$dir/kube-apiserver.log" 2>&1 </dev/null &
  echo $! >"$dir/kube-apiserver.pid"
  (umask 077 && write_kubeconfig "$api_port")

  for _ in $(seq 300); do
    kill -0 "$(cat "$dir/etcd.pid")" 2>/dev/null || fail etcd
    kill -0 "$(cat "$dir/kube-apiserver.pid")" 2>/dev/null || fail kube-apiserver
    if [ "$(curl -s --cacert "$pki/ca.crt" "https://127.0.0.1:$api_port/readyz" || true)" = ok ]; then
      say "kube-apiserver $K8S_VERSION is ready on port $api_port"
      echo "$kubeconfig"
      return
    fi
    sleep 0.1
  done
  fail kube-apiserver
}

# fail NAME: say why, and leave nothing running
fail() {
  tail -n 15 "$dir/$1.log" >&2
  halt
  die "$1 did not come up; all it said is in $dir/$1.log"
}

halt() {
  stop "$dir/kube-apiserver.pid" kube-apiserver
  stop "$dir/etcd.pid" etcd
  rm -rf "$dir/etcd" "$dir/pki" "$kubeconfig"
}

case $action in
  start) start ;;
  stop) halt ;;
  *) die "usage: $0 start|stop [DIR]" ;;
esac
