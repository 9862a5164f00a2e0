#!/usr/bin/env bash
# Tries the wheel with an interpreter and with the oldest or the newest dependencies it promises.
#
#   scripts/try_versions.sh PYTHON oldest|newest [PATH OF TESTS ...]
#
# oldest: every dependency at the lower bound that pyproject.toml states; newest: whatever pip finds. Without paths, a
# quick part of the tests is run: noise, sampling, operators, volumes, priors, files, problems, and the command line.
# KEEP=FOLDER keeps the environment there, and takes it up again.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
python=$1 which=$2
shift 2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
place=${KEEP:-$work/environment}
unset PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet -c "$root/constraints.txt" hatchling
(cd "$root" && "$work/tools/bin/python" -m hatchling build -t wheel -d "$work" >/dev/null 2>&1)

test -x "$place/bin/python" || "$python" -m venv "$place"
: >"$work/bounds.txt"
if [ "$which" = oldest ]; then # "torch>=2.4" becomes "torch==2.4"; what is in an extra stays out
    "$work/tools/bin/python" - "$work"/coslice-*.whl >"$work/bounds.txt" <<'PY'
import re, sys, zipfile

wheel = zipfile.ZipFile(sys.argv[1])
metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))).decode()
for name, bound in re.findall(r"^Requires-Dist: ([\w.-]+)>=([\w.]+)$", metadata, re.MULTILINE):
    print(f"{name}=={bound}")
PY
    cat "$work/bounds.txt"
fi
"$place/bin/python" -m pip install --quiet --force-reinstall --no-deps "$work"/coslice-*.whl
"$place/bin/python" -m pip install --quiet -c "$work/bounds.txt" "$(echo "$work"/coslice-*.whl)[hub,projections,viewer]" "pytest>=8" "hypothesis>=6.100"
"$place/bin/python" -m pip check
"$place/bin/python" - <<'PY'
import platform
from importlib.metadata import version

names = ("torch", "numpy", "numba", "scipy", "nibabel", "pydicom", "typer", "rich", "matplotlib", "pillow")
print("python", platform.python_version(), *(f"{name} {version(name)}" for name in names))
PY
[ $# -gt 0 ] || set -- tests/sampling/test_noise.py tests/sampling/test_philox.py tests/sampling/test_normal_deviates.py \
    tests/sampling/test_renoising.py tests/sampling/test_schedule.py tests/sampling/test_sample.py tests/volume \
    tests/operators/test_thick_slices.py tests/priors/test_priors.py tests/io/test_nifti.py tests/io/test_dicom.py \
    tests/problems/test_problem_values.py tests/methods/test_runs.py tests/cli/test_failures.py tests/report/test_viewer.py tests/house/test_door.py
cd "$root"
"$place/bin/python" -m pytest -q -p no:cacheprovider "$@"
