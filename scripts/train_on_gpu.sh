#!/usr/bin/env bash
# Train a prior on a machine that is lent for minutes and has a GPU, Python, and the packages coslice needs except those
# that read scans (nibabel, pydicom): no network is used.
#
#   scripts/train_on_gpu.sh PACK RUN MINUTES OUT [KEY=VALUE ...]
#
#   PACK      a travel pack of 8-bit slices, as `split_pack` writes it (files of at most 16 MB)
#   RUN       folder of the run; a next call with the same folder goes on where this one stopped
#   MINUTES   of training, at most 10
#   OUT       gets prior.safetensors, prior.md, log.jsonl, run.yaml and samples.png
#   KEY=VALUE settings, as in images=3000000 batch=256 optimiser.name=muon init=PRIOR.safetensors
#
# Environment: CONFIG, a YAML of settings; DEVICE (auto); COMPILE=1 to fuse operations; PYTHON (python3).
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,14s/^# \{0,1\}//p' "$0"
    exit 2
fi
pack=$1 run=$2 minutes=$3 out=$4
shift 4
if ! awk -v m="$minutes" 'BEGIN { exit !(m > 0 && m <= 10) }'; then
    echo "train_on_gpu: $minutes minutes were given, above 0 and up to 10 are needed." >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"

words=("$pack" --out "$run" --minutes "$minutes" --device "${DEVICE:-auto}" --log-every 12800 --validate-every 200000)
[ -z "${CONFIG:-}" ] || words+=(--config "$CONFIG")
[ -z "${COMPILE:-}" ] || words+=(--compile)
[ $# -eq 0 ] || words+=(--set "$@")

status=0
"${PYTHON:-python3}" -m coslice.training "${words[@]}" || status=$?

for name in prior.safetensors prior.md log.jsonl run.yaml; do
    [ ! -f "$run/$name" ] || cp "$run/$name" "$out/"
done
last=$(find "$run/samples" -name '*.png' 2>/dev/null | sort | tail -n 1)
[ -z "$last" ] || cp "$last" "$out/samples.png"
find "$out" -type f -size +16M -print | while read -r file; do
    echo "train_on_gpu: $file is larger than 16 MB." >&2
done
exit "$status"
