#!/bin/bash
# dockerd.sh start | stop
# A Docker daemon without a service manager. `start` does nothing where one answers already;
# `stop` ends only the daemon that `start` began.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
pidfile=$CACHE/dockerd.pid log=$CACHE/dockerd.log

case ${1:-} in
  start)
    if docker_answers; then
      say "a Docker daemon is running already"
      exit 0
    fi
    [ -z "${DOCKER_HOST:-}" ] || die "DOCKER_HOST=$DOCKER_HOST does not answer"
    [ "$(id -u)" = 0 ] || die "no Docker daemon answers, and only root can start one"
    apt_install docker.io iptables
    # a session of its own: it must outlive the shell that asked for it
    setsid nohup dockerd --pidfile "$pidfile" >"$log" 2>&1 9>&- </dev/null &
    for _ in $(seq 150); do
      if docker_answers; then
        say "dockerd is up, pid $(cat "$pidfile"), log $log"
        exit 0
      fi
      sleep 0.2
    done
    tail -n 15 "$log" >&2
    die "dockerd did not come up; all it said is in $log"
    ;;
  stop) stop "$pidfile" dockerd ;;
  *) die "usage: $0 start|stop" ;;
esac
