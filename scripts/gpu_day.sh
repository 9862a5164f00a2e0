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
#   training of priors, where a pack is given       the rest
#
# Environment: DEVICE (auto), PYTHON (python3); SIZE, SLICES, VIEWS, STEPS, NCSNPP and COMPILED as in benchmarks/gpu.py;
# PARTS ("environment laws runs"), those before the training. Of the training:
#   PACK      a travel pack of slices, see scripts/train_on_gpu.sh
#   CONFIG    a YAML of settings; several, with spaces between, are trained one after the other, each in a folder of OUT
#             called after its file. PACK is then one for all, or one for each in their order
#   SHARES    of the time, as in "4 2 1 1"; equal if left out. What one does not need, the next ones have
#   SET       settings as KEY=VALUE, of all of them
#   AVERAGE   widths, as in 0.04,0.07,0.1: at its end a run tries averages of these too, and the best is its prior
#   KEEP      1: what a run needs to go on is kept in OUT, 16 bytes a weight; "all": and its averages along the way, for
#             AVERAGE in a later call, 27 more; 0: priors and records only, and no run can go on
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,24s/^# \{0,1\}//p' "$0"
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

keep_state() { # keep_state RUN FOLDER: a run in files of at most 16 MB, new ones in place of old ones when they are whole
    [ "${KEEP:-1}" != 0 ] || return 0
    local along=(--exclude=./averages)
    [ "${KEEP:-1}" != all ] || along=()
    rm -rf "$2.new" && mkdir -p "$2.new"
    # Slices are made again from the pack, and what is only looked at is in the folder of the training.
    tar -C "$1" ${along[@]+"${along[@]}"} --exclude=./samples --exclude=./slices --exclude=./tensorboard --exclude=./checkpoint.previous.pt \
        -cf - . | gzip -1 | split -b 15m - "$2.new/part-" || {
        echo "$2: the run could not be kept, so what was kept before stays" >&2
        rm -rf "$2.new"
        return 1
    }
    # Cut off between the two, the old one is found under its other name.
    rm -rf "$2.old"
    [ ! -d "$2" ] || mv "$2" "$2.old"
    mv "$2.new" "$2" && rm -rf "$2.old"
}

train() { # train PACK CONFIG FOLDER SECONDS: a prior, for so long, kept in FOLDER
    local pack=$1 config=$2 into=$3 end status=0 run rest slice spare=30
    end=$(($(date +%s) + $4))
    [ -z "${AVERAGE:-}" ] || spare=75
    mkdir -p "$into"
    run=$(mktemp -d -p "$runs") # its checkpoint is one large file; what is kept in OUT is in small ones
    [ -d "$into/state" ] || [ ! -d "$into/state.old" ] || mv "$into/state.old" "$into/state"
    if [ -d "$into/state" ] && ! cat "$into"/state/part-* | tar -C "$run" -xzf -; then
        echo "$into/state: the run that was kept cannot be read; delete the folder to train anew" >&2
        return 1
    fi
    # A few minutes at a time: what is cut off costs no more than these.
    while rest=$((end - $(date +%s))) && [ "$rest" -gt $((spare + 30)) ]; do
        slice=$(awk -v s="$rest" -v spare="$spare" \
            'BEGIN { m = (s - spare) / 60; if (m < 0.1) m = 0.1; print (m > 4 ? 3 : m) }')
        read -r -a more <<<"${SET:-}"
        CONFIG=$config timeout -k 5 "$rest" bash "$here/scripts/train_on_gpu.sh" "$pack" "$run" "$slice" \
            "$into/training" ${more[@]+"${more[@]}"} >>"$into/training.txt" 2>&1
        status=$?
        keep_state "$run" "$into/state"
        "${PYTHON:-python3}" "$here/benchmarks/gpu.py" summary "$out" || true
        [ "$status" -eq 0 ] || break
        ! tail -n 1 "$into/training.txt" | grep -q "^Finished" || break # all its images are seen
    done
    rest=$((end - $(date +%s)))
    if [ ! -f "$into/training.txt" ]; then
        echo "no time was left" >"$into/training.txt"
    elif [ -n "${AVERAGE:-}" ] && [ "$status" -eq 0 ] && [ "$rest" -gt 10 ]; then
        # By the seconds: the prior that is there stays if it comes to nothing.
        if timeout -k 5 "$rest" "${PYTHON:-python3}" -m coslice.training "$pack" --out "$run" --average "$AVERAGE" \
            --device "${DEVICE:-auto}" >"$into/averages.txt" 2>&1; then
            cp "$run/prior.safetensors" "$run/prior.md" "$into/training/"
        fi
    fi
    rm -rf "$run"
}

refuse() {
    echo "gpu_day: $1" >&2
    exit 2
}

read -r -a packs <<<"${PACK:-}"
read -r -a configs <<<"${CONFIG:-}"
read -r -a shares <<<"${SHARES:-}"
count=$((${#configs[@]} > 1 ? ${#configs[@]} : 1))
if [ "${#packs[@]}" -gt 0 ]; then # before the minutes that the other parts take
    [ "${#packs[@]}" -eq 1 ] || [ "${#packs[@]}" -eq "$count" ] ||
        refuse "${#packs[@]} packs were given (PACK) for $count trainings (CONFIG); give one for all, or one for each."
    [ "${#shares[@]}" -eq 0 ] || [ "${#shares[@]}" -eq "$count" ] ||
        refuse "${#shares[@]} shares were given (SHARES) for $count trainings (CONFIG); give one for each, or none."
    for share in ${shares[@]+"${shares[@]}"}; do
        awk -v s="$share" 'BEGIN { exit !(s > 0) }' || refuse "the share $share was given (SHARES), a number above 0 is needed."
    done
    for file in ${configs[@]+"${configs[@]}"}; do
        [ -f "$file" ] || refuse "$file was given (CONFIG), but there is no such file."
    done
    for pack in "${packs[@]}"; do
        [ -f "$pack/pack.json" ] || refuse "$pack was given (PACK), but it holds no pack of slices."
    done
    [ -z "$(for file in ${configs[@]+"${configs[@]}"}; do basename "${file%.*}"; done | sort | uniq -d)" ] ||
        refuse "two files of one name were given (CONFIG), but folders are called after them; rename one."
fi

for name in ${PARTS-environment laws runs}; do
    case $name in
        environment) part 30 environment ;;
        laws) part 60 laws ;;
        runs) part 210 runs ;;
        *) echo "$name: there is no such part" | tee -a "$out/parts.txt" ;;
    esac
done

if [ "${#packs[@]}" -eq 0 ]; then
    echo "no pack of slices was given (PACK), so nothing was trained" | tee "$out/training.txt"
else
    runs=$(mktemp -d)
    trap 'rm -rf "$runs"' EXIT
    for ((i = 0; i < count; i++)); do
        into=$out
        [ "$count" -eq 1 ] || into=$out/$(basename "${configs[i]%.*}")
        seconds=$(left)
        if [ "$count" -gt 1 ]; then
            later=0
            for ((j = i; j < count; j++)); do later=$(awk -v a="$later" -v b="${shares[j]:-1}" 'BEGIN { print a + b }'); done
            seconds=$(awk -v s="$seconds" -v a="${shares[i]:-1}" -v b="$later" 'BEGIN { printf "%d", s * a / b }')
        fi
        train "${packs[i]:-${packs[0]}}" "${configs[i]:-}" "$into" "$seconds"
    done
fi
"${PYTHON:-python3}" "$here/benchmarks/gpu.py" summary "$out" || true
cat "$out/summary.md"
