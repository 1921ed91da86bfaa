#!/usr/bin/env bash
# setup.sh                makes .venv with everything timecat needs (`make setup`); silent when that is done already
# setup.sh lock           writes requirements.txt from pyproject.toml (`make lock`); more arguments go to uv
# setup.sh slurm          installs SLURM for the tests of the cluster (`make test`), where it may
# setup.sh requirements   makes .venv without timecat itself: a layer of docker/Dockerfile
#
# What a package manager cannot know, and this script is for: FFCV comes as source only and wants a compiler, and
# OpenCV and libjpeg-turbo from the system. Where these cannot be had it is left out, and simplejpeg and cv2, from
# wheels, decode the same pixels. PYTHON=... picks the Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/.venv
work=$PWD/build/setup # uv, where the machine has none, and the log
log=$work/log
stamp=$venv/timecat-setup
without=$venv/timecat-without # the packages that a setup without FFCV, or without the demo's data, found missing
fashion=/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz

say() { echo "setup: $*"; }
die() {
    echo "setup: $*" >&2
    exit 2
}
# logged WHAT COMMAND...: runs it with its output in the log; a failure ends the script with one line.
logged() {
    local what=$1
    shift
    "$@" >>"$log" 2>&1 </dev/null && return
    if [ -n "${CI:-}" ]; then cat "$log" >&2; fi # nobody can open the log there
    # apt, pip and uv mark the line that says what is wrong, each in its own way.
    die "$what failed: $(grep -E '^ *(E:|ERROR:|error:|×)' "$log" | tail -n 1 | sed 's/^ *//') (log: ${log#"$PWD"/})"
}

# The executable behind a Python 3.11 to 3.13: never the one of a venv, which may be about to go.
base_python() {
    "$1" -c 'import sys
if not (3, 11) <= sys.version_info < (3, 14): sys.exit(1)
print(sys._base_executable)' 2>/dev/null | grep .
}
same_python() { [ "$("$1" -VV 2>/dev/null)" = "$("$2" -VV 2>/dev/null)" ]; }

# FFCV's kernels find their system libraries: no longer so after an upgrade of the distribution.
kernels_load() {
    local libs
    libs=$(ldd "$venv"/lib/python3*/site-packages/ffcv/_libffcv*.so 2>/dev/null) && [[ $libs != *"not found"* ]]
}
have_data() { [ -e "$fashion" ] || ! command -v apt-get >/dev/null; } # no such package elsewhere: only the demo needs it
# Everything that a finished setup depends on; the folder too, as a venv cannot be moved.
key() { { cat requirements.txt pyproject.toml .ci/setup.sh && pwd && "$venv/bin/python" -VV; } | sha256sum; }

uv=uv
uv_pinned=0.13.9
if ! uv --version >/dev/null 2>&1; then uv=$work/uv/bin/uv; fi # a broken shim counts as none

# By the names of Debian's and Ubuntu's packages.
missing_packages() {
    local python_package
    python_package=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    command -v g++ >/dev/null || echo g++
    command -v pkg-config >/dev/null || echo pkg-config
    "$python" -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null ||
        echo "$python_package-dev"
    [ "$uv" = uv ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$python_package-venv"
    # Not libopencv-dev: it brings two hundred packages, and FFCV uses these two modules.
    pkg-config --exists opencv4 2>/dev/null || {
        [ -e /usr/include/opencv4/opencv2/core.hpp ] || echo libopencv-core-dev
        [ -e /usr/include/opencv4/opencv2/imgproc.hpp ] || echo libopencv-imgproc-dev
    }
    pkg-config --exists libturbojpeg 2>/dev/null || echo libturbojpeg0-dev
    have_data || echo dataset-fashion-mnist
}

if [ "${1:-}" = slurm ]; then
    PATH=$PATH:/usr/sbin
    missing=0
    for program in slurmctld slurmd sbatch munged; do command -v "$program" >/dev/null || missing=1; done
    [ "$missing" = 1 ] || exit 0
    install=(apt-get install -y --no-install-recommends slurm-wlm munge)
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "no SLURM here, so the tests of the cluster are skipped; on Debian, as root: ${install[*]}"
        exit
    fi
    mkdir -p "$work"
    : >"$log"
    say "installing slurm-wlm and munge for the tests of the cluster"
    export DEBIAN_FRONTEND=noninteractive
    "${install[@]}" >>"$log" 2>&1 </dev/null || {
        logged "apt-get update" apt-get update
        logged "apt-get install" "${install[@]}"
    }
    exit
fi

if [ "${1:-}" != lock ] && [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(key 2>/dev/null)" ] &&
    { [ -z "${PYTHON:-}" ] || same_python "$PYTHON" "$venv/bin/python"; } &&
    { { kernels_load && have_data; } ||
        { [ -e "$without" ] && [ "$(cat "$without")" = "$(python=$venv/bin/python missing_packages)" ]; }; }; then
    exit 0
fi

start=$SECONDS
mkdir -p "$work"
: >"$log"

# 1. Python: PYTHON, else that of the venv there is, else the user's.
if [ -n "${PYTHON:-}" ]; then
    python=$(base_python "$PYTHON") || die "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13"
else
    for candidate in "$venv/bin/python" python3 python3.13 python3.12 python3.11; do
        python=$(base_python "$candidate") && break
    done
    [ -n "$python" ] || die "no Python 3.11, 3.12 or 3.13 found; name one: make setup PYTHON=/path/to/python3"
fi

# 2. What the machine must have.
ffcv=1 why=
# go_on_without REMEDY: what is missing cannot be installed here; the end, where that is more than FFCV and the demo need.
go_on_without() {
    [ -z "${CI:-}" ] && [[ ${missing[*]} != *-venv* ]] || die "$1"
    why="$1"
    [ "${missing[*]}" = dataset-fashion-mnist ] || ffcv=0
}

mapfile -t missing < <(missing_packages)
as_root=(env DEBIAN_FRONTEND=noninteractive)
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n "${as_root[@]}"); fi
if [ ${#missing[@]} -eq 0 ]; then
    :
elif ! command -v apt-get >/dev/null; then
    go_on_without "install what Debian calls: ${missing[*]}"
elif ! "${as_root[@]}" true 2>/dev/null; then
    go_on_without "as root, run: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
else
    say "installing ${missing[*]}"
    install=("${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}")
    # Package lists that are absent or out of date make the first try fail.
    "${install[@]}" >>"$log" 2>&1 </dev/null || {
        logged "apt-get update" "${as_root[@]}" apt-get update
        logged "apt-get install" "${install[@]}"
    }
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] || die "still not found after apt-get install: ${missing[*]}"
fi

# opencv4.pc and opencv.hpp are only in libopencv-dev: the part of them that FFCV asks for, while it is built.
# In a temporary folder because FFCV's setup.py splits pkg-config's answer at blanks.
if [ "$ffcv" = 1 ] && ! pkg-config --exists opencv4; then
    opencv=$(mktemp -d)
    trap 'rm -rf "$opencv"' EXIT
    mkdir "$opencv/opencv2"
    printf '#include <opencv2/%s.hpp>\n' core imgproc >"$opencv/opencv2/opencv.hpp"
    cat >"$opencv/opencv4.pc" <<END
Name: OpenCV
Description: the parts of OpenCV that FFCV uses
Version: 4
Cflags: -I$opencv -I/usr/include/opencv4
Libs: -lopencv_imgproc -lopencv_core
END
    export PKG_CONFIG_PATH=$opencv${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
fi

# 3. uv: the machine's own, else this one (x86_64 and aarch64).
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
if [ "$uv" != uv ] && [[ $("$uv" --version 2>/dev/null) != "uv $uv_pinned"* ]]; then
    say "installing uv $uv_pinned"
    cat >"$work/uv.txt" <<END
uv==$uv_pinned \
    --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 \
    --hash=sha256:ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375 \
    --hash=sha256:5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe
END
    logged "making a venv for uv" "$python" -m venv --clear "$work/uv"
    logged "installing uv" "$work/uv/bin/python" -m pip install --require-hashes --only-binary :all: -r "$work/uv.txt"
fi

if [ "${1:-}" = lock ]; then
    shift
    # ffcv asks for opencv-python, whose cv2 wants libGL, GLib and X11: a marker that is never true takes it out, and
    # pyproject.toml asks for opencv-python-headless, the same cv2 without windows.
    echo "opencv-python ; python_version < '0'" >"$work/overrides.txt"
    # One set of versions for every Python we support. The pins there are stay, unless --upgrade is given.
    logged "resolving" "$uv" pip compile pyproject.toml --extra ffcv --group test --group docs \
        --overrides "$work/overrides.txt" --python "$python" --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --output-file requirements.txt "$@"
    say "wrote requirements.txt"
    exit
fi

# 4. The venv. A setup that fails from here on leaves no stamp and is taken up again by the next.
rm -f "$stamp"
if ! same_python "$venv/bin/python" "$python" || ! grep -qF "$venv" "$venv/bin/activate"; then # or it was moved
    rm -rf "$venv"
    logged "making .venv" "$uv" venv --python "$python" "$venv"
fi
say "$("$python" --version) in .venv: installing requirements.txt (at first 6 GB)"
# The lock is a build constraint too, so that FFCV is built by the setuptools whose hash we know.
# --compile-bytecode: else every process compiles what it imports, 8 s of it, where the environment forbids to keep it.
sync=("$uv" pip sync --python "$venv/bin/python" --require-hashes --compile-bytecode
    --build-constraints requirements.txt)
# with_ffcv: everything, and FFCV's library loads; uv's cache may have a build against other libraries.
with_ffcv() {
    "${sync[@]}" requirements.txt && { kernels_load || "${sync[@]}" requirements.txt --reinstall-package ffcv; } &&
        { kernels_load || { echo "error: ffcv's library does not load" && false; }; }
}
rm -f "$without"
if [ -n "${CI:-}" ]; then
    logged "installing requirements.txt" with_ffcv
elif [ "$ffcv" = 1 ] && ! with_ffcv >>"$log" 2>&1 </dev/null; then
    ffcv=0 why="its build failed, log: ${log#"$PWD"/}; to try again: rm ${stamp#"$PWD"/}"
fi
if [ "$ffcv" = 0 ]; then
    awk '/^[^ ]/ { ours = !/^ffcv==/ } ours' requirements.txt >"$work/requirements.txt"
    logged "installing requirements.txt" "${sync[@]}" "$work/requirements.txt"
fi
if [ "${1:-}" = requirements ]; then exit; fi
logged "installing timecat" "$uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
key >"$stamp"
if [ -n "$why" ]; then missing_packages >"$without"; fi
if [ "$ffcv" = 0 ]; then
    say "no ffcv ($why): simplejpeg and cv2 decode the same pixels"
elif [ -n "$why" ]; then
    say "no data for make demo ($why)"
fi
say "done in $((SECONDS - start)) s; to have timecat on your PATH: . .venv/bin/activate"
