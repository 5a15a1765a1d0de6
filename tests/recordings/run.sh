#!/bin/bash
# tests/recordings/run.sh [FILE.json.gz ...]
#
# Replays requests whose answers were recorded from a real kube-apiserver against the embedded server, and says for
# each file how many answers are equal and how many differ. Fails when fewer are equal than tests/recordings/expected.txt
# says. MACHINECTL_RECORDINGS names the folder with apicases.py and recordings/ (default: ../shared/apiserver).
#   SHOW=N        print the first N differences of each file
#   WRITE=1       write what was found to expected.txt
#   KEEP=FOLDER   leave a JSON file with all differences of each recording there
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
MACHINECTL_RECORDINGS=$(realpath "${MACHINECTL_RECORDINGS:-../shared/apiserver}") || exit 1
[ -f "$MACHINECTL_RECORDINGS/apicases.py" ] || { echo "no apicases.py in $MACHINECTL_RECORDINGS" >&2; exit 1; }
export MACHINECTL_RECORDINGS MACHINECTL_RECORDINGS_FILES="$*"
exec cargo test --test it -- apiserver::recordings --nocapture
