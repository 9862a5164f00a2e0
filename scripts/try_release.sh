#!/usr/bin/env bash
# Builds what a release ships, installs it where nothing else is, and uses it: the wheel made from the unpacked sdist,
# with no dependency but the declared ones, away from the checkout.
#
#   scripts/try_release.sh [PYTHON] [STEPS]
#
# PYTHON is an interpreter (python3), STEPS the network evaluations of the demo (4; as shipped it has more). pip's own
# settings apply. Versions are those of constraints.txt; CONSTRAINTS=/dev/null takes the newest that there are.
set -euo pipefail
python=${1:-python3}
steps=${2:-4}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
constraints=${CONSTRAINTS:-$root/constraints.txt}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet -c "$constraints" hatchling
(cd "$root" && "$work/tools/bin/python" -m hatchling build -t sdist -d "$work/dist" >/dev/null 2>&1)
mkdir "$work/sources"
tar -xzf "$work"/dist/coslice-*.tar.gz -C "$work/sources" --strip-components 1
(cd "$work/sources" && "$work/tools/bin/python" -m hatchling build -t wheel -d "$work/dist" >/dev/null 2>&1)
say "built $(cd "$work/dist" && du -k -- * | awk '{printf "%s (%.1f MB)  ", $2, $1 / 1024}')"

"$python" -m venv "$work/clean"
"$work/clean/bin/python" -m pip install --quiet -c "$constraints" "$work"/dist/coslice-*.whl
"$work/clean/bin/python" -m pip check
say "installed with $("$work/clean/bin/python" -m pip list --format freeze | wc -l) packages"

cd "$work" # nothing of the checkout is in the way
export HOME=$work NUMBA_CACHE_DIR=$work/numba
coslice=$work/clean/bin/coslice
"$coslice" --version
"$coslice" priors >/dev/null
"$coslice" methods >/dev/null
"$work/clean/bin/python" -I - <<'PY'
import importlib, pkgutil
import coslice

missing = {"triton"}  # of an extra, in a module that is loaded only where it is there
count = 0
for found in pkgutil.walk_packages(coslice.__path__, "coslice."):
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if error.name not in missing:
            raise SystemExit(f"{found.name} needs {error.name}, which no dependency brings")
    count += 1
for name in coslice.__all__:
    getattr(coslice, name)
print(f"{count} modules are imported")
PY
say "commands answer, modules are imported"

"$coslice" demo --steps "$steps" --out demo >demo.log 2>&1 || { cat demo.log >&2; exit 1; }
for file in report.html metrics.json run.json truth.nii.gz; do test -s "demo/$file"; done
say "coslice demo --steps $steps: $(grep -c . demo.log) lines, demo/report.html has $(wc -c <demo/report.html) bytes"
echo "The release installs and works."
