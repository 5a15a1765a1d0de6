#!/bin/bash
# Runs the bootstrap script once and keeps its log and its verdict beside it, where they can be read
# without a process in this machine:
#   verdict/state   "running <time>" or "ended <time>"
#   verdict/tail    the end of the log, once it has ended
#   verdict/result  its exit code, once it has ended; the unit does not run it again then
#   log             all that it said
umask 077
here=${0%/*}
verdict=$here/verdict
mkdir -p "$verdict"
put() { cat >"$here/new" && mv -f "$here/new" "$verdict/$1"; }
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# A service has an environment of its own. What the container was given counts here too (proxies).
if [ -r "${MACHINE_BOOTSTRAP_ENVIRONMENT:-/proc/1/environ}" ]; then
  while IFS= read -r -d '' pair; do
    case ${pair%%=*} in
      PATH | HOME | PWD | OLDPWD | SHLVL | TERM | HOSTNAME | container | _ | *[!A-Za-z0-9_]*) ;;
      *) export "${pair?}" ;;
    esac
  done <"${MACHINE_BOOTSTRAP_ENVIRONMENT:-/proc/1/environ}"
fi
export HOME=/root
export PATH=${MACHINE_BOOTSTRAP_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin}

# where Cluster API looks for the end of a bootstrap; its own scripts write there too
[ ! -d /run/systemd/system ] || mkdir -p /run/cluster-api

limit=${1:-600} began=$SECONDS
echo "running $(now)" | put state
timeout --kill-after=10 "$limit" /bin/bash "$here/run" >"$here/log" 2>&1 </dev/null
code=$?
# 137: it did not end when it was asked to, or something else killed it
if [ "$code" = 137 ] && [ $((SECONDS - began)) -ge "$limit" ]; then code=124; fi
case $code in
  124) echo "machine-bootstrap: not ended within $limit s, stopped" >>"$here/log" ;;
  # what it wrote is in place; nobody needs the copies, and some are secret
  0) rm -rf "$here/files" "$here/run" ;;
esac
tail -n 40 "$here/log" | tail -c 6000 | put tail
echo "ended $(now)" | put state
echo "$code" | put result
[ "$code" != 0 ] || [ ! -d /run/cluster-api ] || echo success >/run/cluster-api/bootstrap-success.complete
exit "$code"
