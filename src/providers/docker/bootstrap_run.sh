#!/bin/bash
# Makes this machine what its bootstrap data says. It is safe to run it again.
umask 022
here=${0%/*}
root=${MACHINE_BOOTSTRAP_ROOT:-}
step=preparation
trap 'code=$?; [ "$code" = 0 ] || echo "machine-bootstrap: $step failed with exit code $code" >&2' EXIT

say() { echo "machine-bootstrap: $*"; }
die() {
  echo "machine-bootstrap: $*" >&2
  exit 1
}
systemd() { [ -d "$root/run/systemd/system" ] && command -v systemctl >/dev/null; }
unit() { systemctl cat "$1" >/dev/null 2>&1; }

# group NAME [MEMBER...]
group() {
  local name=$1 member
  step="group $name"
  getent group "$name" >/dev/null || groupadd "$name" || exit
  shift
  for member; do
    getent passwd "$member" >/dev/null || continue # users are made later, and get their groups then
    usermod -a -G "$name" "$member" || exit
  done
}

# user NAME [FLAG...]: makes it, or changes one that is there.
user() {
  local name=$1
  step="user $name"
  shift
  if getent passwd "$name" >/dev/null; then
    modify_user "$name" "$@"
  else
    useradd "$@" "$name" || exit
  fi
}
modify_user() {
  local name=$1 flags=()
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --create-home | --no-create-home | --user-group | --system) shift ;;
      --groups) flags+=(--append --groups "$2") && shift 2 ;;
      --home-dir) flags+=(--home "$2") && shift 2 ;;
      *) flags+=("$1" "$2") && shift 2 ;;
    esac
  done
  [ ${#flags[@]} = 0 ] || usermod "${flags[@]}" "$name" || exit
}

# password FLAGS: reads name:password from standard input, so that no process list shows it.
password() {
  step="password of a user"
  chpasswd "$@" || exit
}

# lock NAME: no password opens it.
lock() {
  step="user $1"
  passwd -l "$1" >/dev/null || exit
}

# authorize NAME: adds the keys on standard input.
authorize() {
  local name=$1 home file key
  step="authorized keys of $1"
  home=$(getent passwd "$name" | cut -d: -f6)
  [ -n "$home" ] || die "user $name has no home directory"
  file=$root$home/.ssh/authorized_keys
  mkdir -p "$root$home" "${file%/*}" && touch "$file" || exit
  while IFS= read -r key; do
    grep -qxF -- "$key" "$file" || printf '%s\n' "$key" >>"$file" || exit
  done
  chmod 700 "${file%/*}" && chmod 600 "$file" && chown -R "$name": "${file%/*}" || exit
}

# place FILE TO: puts it in place, readable for nobody else until its mode is set.
place() {
  local to=$root$2
  [ ! -d "$to" ] || die "$2 is a directory"
  mkdir -p "${to%/*}" || exit
  if [ -f "$to" ]; then chmod go= "$to"; fi
  ( umask 077 && cat "$here/files/$1" >"$to" ) || exit
}

# write FILE PATH MODE OWNER
write() {
  step="file $2"
  place "$1" "$2"
  chown -- "$4" "$root$2" && chmod "$3" "$root$2" || exit
}

# append FILE PATH MODE OWNER: adds it at the end, unless it is there from an earlier run.
append() {
  local to=$root$2 size
  step="file $2"
  size=$(wc -c <"$here/files/$1")
  if [ ! -e "$to" ]; then
    write "$@"
  elif ! tail -c "$size" "$to" | cmp -s - "$here/files/$1"; then
    cat "$here/files/$1" >>"$to" || exit
  fi
}

# sudoers FILE
sudoers() {
  step="sudoers"
  write "$1" /etc/sudoers.d/90-machine-bootstrap 0440 root:root
}

# ntp FILE: who keeps the time. Containers have the clock of their host, so a node without timesyncd is fine.
ntp() {
  step=ntp
  write "$1" /etc/systemd/timesyncd.conf.d/machine-bootstrap.conf 0644 root:root
  if systemd && unit systemd-timesyncd.service; then
    systemctl enable systemd-timesyncd.service 2>/dev/null
    systemctl try-reload-or-restart systemd-timesyncd.service 2>/dev/null ||
      say "systemd-timesyncd does not run here; its servers are noted"
  fi
}

# no_ntp
no_ntp() {
  step=ntp
  if systemd && unit systemd-timesyncd.service; then systemctl disable --now systemd-timesyncd.service 2>/dev/null; fi
}

# reload_units: after files of systemd were written.
reload_units() {
  step="reload of systemd's units"
  if systemd; then systemctl daemon-reload || exit; fi
}

# container_runtime [restart]: waits until containerd answers; restarts it first when its configuration was written.
container_runtime() {
  local tries=600
  step="wait for containerd"
  systemd && unit containerd.service || return 0
  if [ "${1:-}" = restart ]; then systemctl restart containerd.service || exit; fi
  until ctr version >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then
      journalctl --no-pager -n 15 -u containerd.service 2>/dev/null
      die "containerd does not answer after 60 s"
    fi
    sleep 0.1
  done
}

# run_command KIND NUMBER COUNT TEXT: runs it in this shell, so that a later one sees what an earlier one set.
run_command() {
  local word=${4%%[[:space:]]*}
  case $word in *[!A-Za-z0-9._/-]* | '') word= ;; *) word=" (${word##*/})" ;; esac
  step="command $2 of $3 in $1$word"
  say "command $2 of $3 in $1$word"
  eval "$4"
  local code=$?
  [ "$code" = 0 ] || exit "$code"
}

# script NUMBER COUNT FILE: runs a script that is bootstrap data of its own.
script() {
  step="script $1 of $2 in runcmd"
  say "$step"
  chmod 700 "$here/files/$3" && "$here/files/$3" || exit
}
