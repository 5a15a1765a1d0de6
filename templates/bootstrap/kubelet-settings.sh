#!/bin/bash
# Lays this machine's kubelet settings over those of its cluster. Runs before kubelet, each time it starts.
set -eu
config=/var/lib/kubelet/config.yaml
ours=/etc/machinectl/kubelet.yaml
if [ ! -s "$config" ] || [ ! -s "$ours" ]; then exit 0; fi

# A key of the first level, with all that belongs to it, takes the place of the same key.
declare -A replaced
while IFS= read -r line; do
  case $line in [A-Za-z]*:*) replaced[${line%%:*}]=1 ;; esac
done <"$ours"

umask 077
gone=
while IFS= read -r line || [ -n "$line" ]; do
  case $line in [A-Za-z]*:*) gone=${replaced[${line%%:*}]:-} ;; esac
  if [ -z "$gone" ]; then printf '%s\n' "$line"; fi
done <"$config" >"$config.new"
cat "$ours" >>"$config.new"
chmod 644 "$config.new"
mv "$config.new" "$config"
