#!/bin/bash
# Comes before the image's own entrypoint in a container that is not privileged, and undoes what Docker mounts
# read-only there. A node image may do the same itself; doing it twice is harmless.
mount -o remount,rw /sys 2>/dev/null
for tree in /sys/fs/cgroup /sys/fs/cgroup/*/; do
  tree=${tree%/}
  if [ ! -L "$tree" ]; then mount -o remount,rw,bind "$tree" 2>/dev/null; fi
done
# Without CAP_SYS_RESOURCE nothing lowers oom_score_adj, and runc would refuse each pod over it.
if ! (echo -1 >/proc/self/oom_score_adj) 2>/dev/null && [ -f /etc/containerd/config.toml ]; then
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
fi
exec "$@"
