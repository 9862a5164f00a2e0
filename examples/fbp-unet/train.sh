#!/bin/sh
# An FBP-UNet for each task, one after the other:
#
#     sh examples/fbp-unet/train.sh SCANS OUT [TASK ...]
#
# SCANS is a folder of scans or a pack of slices; OUT/TASK/prior.safetensors is the network of a task. Killed or stopped,
# the same line goes on where it was: a task that is finished is not trained again, and one that was begun goes on.
# Without tasks they are the six that the embedded ct-fbp-unet serves.
set -eu
here=$(dirname "$0") scans=$1 out=$2
shift 2
if [ $# -eq 0 ]; then
    set -- svct-parallel-8 svct-parallel-6 svct-parallel-4 lact-parallel-90 svct-cone-30 lact-cone-100
fi
for task; do
    coslice train "$scans" --config "$here/network.yaml" --task "$task" --out "$out/$task"
done
