#!/usr/bin/env bash
# All that a GPU is needed for, in order of value and within minutes: whoever has one runs this first.
#
#   scripts/gpu_day.sh OUT [MINUTES]
#
#   OUT       a folder; records are in it as soon as they are known, and summary.md and summary.json after every part.
#             It may be cut off at any moment. A next call with the same OUT goes on with the training.
#   MINUTES   for everything, 12 if left out
#
# The parts, each within a time of its own; one that fails does not stop the next:
#   the machine and the projector's laws on it      at most  1.5 minutes
#   whole runs with the seconds of their parts      at most  3.5
#   training of a prior, where a pack is given      the rest
#
# Environment: DEVICE (auto), PYTHON (python3); SIZE, SLICES, VIEWS, STEPS, NCSNPP and COMPILED as in benchmarks/gpu.py; PACK, a
# travel pack of slices, see scripts/train_on_gpu.sh, CONFIG and SET, settings of the training.
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,18s/^# \{0,1\}//p' "$0"
    exit 2
fi
out=$1 minutes=${2:-12}
if ! awk -v m="$minutes" 'BEGIN { exit !(m > 0 && m <= 600) }'; then
    echo "gpu_day: $minutes minutes were given, a number above 0 is needed." >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
[ "${DEVICE:-auto}" != cpu ] || export TRITON_INTERPRET=1
mkdir -p "$out"
began=$(date +%s)

left() { # seconds of all that are left
    awk -v m="$minutes" -v began="$began" -v now="$(date +%s)" 'BEGIN { printf "%d", m * 60 - (now - began) }'
}

part() { # part SECONDS NAME: one part of benchmarks/gpu.py, and the summary after it
    local limit=$1 name=$2 most
    most=$(left)
    [ "$limit" -le "$most" ] || limit=$most
    if [ "$limit" -le 0 ]; then
        echo "$name: no time was left" | tee -a "$out/parts.txt"
        return
    fi
    timeout -k 5 "$limit" "${PYTHON:-python3}" "$here/benchmarks/gpu.py" "$name" "$out" >"$out/$name.log" 2>&1
    echo "$name: exit $? (124 is its time limit of $limit s)" | tee -a "$out/parts.txt"
    "${PYTHON:-python3}" "$here/benchmarks/gpu.py" summary "$out" || echo "summary: exit $?" >>"$out/parts.txt"
}

keep_state() { # the run in files of at most 16 MB, new ones in place of old ones when they are whole
    rm -rf "$out/state.new" && mkdir "$out/state.new"
    tar -C "$run" --exclude=samples -czf - . | split -b 15m - "$out/state.new/part-"
    rm -rf "$out/state" && mv "$out/state.new" "$out/state"
}

part 30 environment
part 60 laws
part 210 runs

if [ -z "${PACK:-}" ]; then
    echo "no pack of slices was given (PACK), so nothing was trained" | tee "$out/training.txt"
else
    run=$(mktemp -d) # its checkpoint is one large file; what is kept in OUT is in small ones
    trap 'rm -rf "$run"' EXIT
    [ ! -d "$out/state" ] || cat "$out"/state/part-* | tar -C "$run" -xzf -
    # A few minutes at a time: what is cut off costs no more than these.
    while [ "$(left)" -gt 60 ]; do
        slice=$(awk -v s="$(left)" 'BEGIN { m = (s - 30) / 60; if (m < 0.1) m = 0.1; print (m > 4 ? 3 : m) }')
        read -r -a more <<<"${SET:-}"
        timeout -k 5 "$(left)" bash "$here/scripts/train_on_gpu.sh" "$PACK" "$run" "$slice" "$out/training" \
            ${more[@]+"${more[@]}"} >>"$out/training.txt" 2>&1
        status=$?
        keep_state
        "${PYTHON:-python3}" "$here/benchmarks/gpu.py" summary "$out" || true
        [ "$status" -eq 0 ] || break
        ! tail -n 1 "$out/training.txt" | grep -q "^Finished" || break # all its images are seen
    done
fi
"${PYTHON:-python3}" "$here/benchmarks/gpu.py" summary "$out" || true
cat "$out/summary.md"
