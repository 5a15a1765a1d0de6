# shellcheck shell=bash
# Settings and helpers of the rig's scripts. Sourced, never run.

# shellcheck disable=SC2034  # the scripts that source this read them
{
  K8S_VERSION=v1.20.2
  SUITE=bookworm
  REPO=k8s.gcr.io # where kubeadm of this version expects its images
  NODE_IMAGE=${MACHINECTL_TEST_NODE_IMAGE:-machinectl-node:$K8S_VERSION}
}
RIG=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034
TOP=$(cd "$RIG/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/machinectl/rig
mkdir -p "$CACHE"

say() { printf '%6ds  %s\n' "$SECONDS" "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# logged FILE COMMAND...: its output goes to $CACHE/FILE; only the end of it is shown, and only if it fails.
logged() {
  local log=$CACHE/$1
  shift
  "$@" >"$log" 2>&1 </dev/null && return 0
  tail -n 15 "$log" >&2
  die "$1 failed; all it said is in $log"
}

# one_at_a_time: the rest of the script waits for other runs of it to end.
one_at_a_time() {
  exec 9>"$CACHE/$(basename "$0").lock"
  flock 9
}

on_debian() { [ -x /usr/bin/apt-get ] && [ -f /etc/debian_version ]; }

# apt_install PACKAGE...: what is not installed yet; services are not started.
apt_install() {
  local missing=() package
  for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing packages, and only root can install them: ${missing[*]}"
  say "installing ${missing[*]}"
  apt_update
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive logged apt-install.log \
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
}

# apt_update: refresh the package lists, unless that was done within the last hour.
apt_update() {
  [ -z "$(find "$CACHE/apt-updated" -mmin -60 2>/dev/null)" ] || return 0
  apt-get -q -y -o DPkg::Lock::Timeout=300 update >"$CACHE/apt-update.log" 2>&1 </dev/null ||
    say "apt-get update had errors (see $CACHE/apt-update.log); going on"
  touch "$CACHE/apt-updated"
}

# debian_mirror: the mirror that this machine's apt uses for the suite.
debian_mirror() {
  local mirror=${MACHINECTL_RIG_MIRROR:-}
  # shellcheck disable=SC2016  # apt's own format language
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$SUITE" '$2 == suite { print $1; exit }')
  [ -n "$mirror" ] || mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)
  mirror=${mirror// /}
  [ -n "$mirror" ] || die "no Debian mirror found in apt's sources: set MACHINECTL_RIG_MIRROR"
  printf '%s\n' "${mirror%/}"
}

# etcd_program: path of Debian's etcd, unpacked into the cache so that no service is installed.
etcd_program() {
  local dir=$CACHE/etcd
  if [ ! -x "$dir/usr/bin/etcd" ]; then
    [ "$(id -u)" != 0 ] || apt_update
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new"
    (cd "$dir.new" && logged etcd-download.log apt-get -q -o APT::Sandbox::User=root download etcd-server) || return 1
    dpkg -x "$dir.new"/etcd-server_*.deb "$dir.new" && rm "$dir.new"/*.deb
    mv "$dir.new" "$dir"
  fi
  printf '%s\n' "$dir/usr/bin/etcd"
}

docker_answers() { command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; }

# alive PIDFILE NAME: the process that wrote the file still runs, and is that program.
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}

# stop PIDFILE NAME: end that process and wait until it is gone.
stop() {
  if alive "$1" "$2"; then
    kill "$(cat "$1")"
    for _ in $(seq 150); do
      alive "$1" "$2" || break
      sleep 0.1
    done
    if alive "$1" "$2"; then kill -KILL "$(cat "$1")"; fi
  fi
  rm -f "$1"
}

# node_flags: what `docker run` needs for a node container, in $flags.
# Docker 20.10 asks for every capability there is when it makes a privileged container, and runc refuses
# where the daemon itself lacks one. There, ask for those that the daemon has.
node_flags() {
  local all=(CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
    SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
    SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE)
  local i bounding=$((16#$(awk '/^CapBnd/ { print $2 }' "/proc/$(pidof -s dockerd || echo self)/status")))
  flags=()
  for i in "${!all[@]}"; do
    ((bounding >> i & 1)) || flags+=(--cap-drop "${all[i]}")
  done
  if [ ${#flags[@]} = 0 ]; then flags=(--privileged); else
    flags+=(--cap-add ALL --security-opt systempaths=unconfined --device-cgroup-rule 'a *:* rwm')
    [ ! -e /dev/kmsg ] || flags+=(--device /dev/kmsg)
  fi
  [ ! -d /lib/modules ] || flags+=(--volume /lib/modules:/lib/modules:ro)
  flags+=(--tty --cgroupns=private --tmpfs /tmp:exec --tmpfs /run:exec
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined)
}
