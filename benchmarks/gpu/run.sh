#!/usr/bin/env bash
# run.sh [--device cpu] [--parts step,checks] [--out FILE]   the GPU bench from a bundle; nothing is installed
#
# PYTHON=... picks the Python, which must have torch, torchvision, lightning and numba. It leaves benchmarks-gpu.json in
# the working directory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
wanted=$(cat "$here/python-version")

found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$found" != "$wanted" ]; then
    echo "run.sh: $python is Python $found, the bundle is for $wanted; name one: PYTHON=/path/to/python$wanted" >&2
    exit 2
fi
missing=$("$python" -c 'from importlib.util import find_spec
print(*(name for name in ("torch", "torchvision", "lightning", "numba") if not find_spec(name)))')
if [ -n "$missing" ]; then
    echo "run.sh: $python has no $missing; name one that has: PYTHON=/path/to/python$wanted" >&2
    exit 2
fi
export PYTHONPATH=$here/tree:$here/lib PYTHONSAFEPATH=1 # safe: from no module in the working directory
"$python" -c 'import sklearn.datasets' 2>/dev/null || PYTHONPATH+=:$here/spare
exec "$python" -m benchmarks.gpu "$@"
