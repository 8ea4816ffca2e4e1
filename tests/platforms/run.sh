#!/usr/bin/env bash
# Prove that a frozen classifier, and the package itself, run where there is little: see README.md in this folder.
#
#   bash tests/platforms/run.sh [NAME...]        all, or those named: isolated venv oldest python3.9 ... python3.14
#                                                pypy i386 armhf s390x aarch64
#
# Runs on x86-64 Debian and its kin. Downloads (about 350 MB) are kept in $PLATFORMS_CACHE, default ~/.cache/npmnv3-platforms.
# PYTHON (default python3) must be able to import npmnv3 and h5py; it freezes the classifier that all the others run.
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # else NumPy is compiled anew at every import, and the times tell of that
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PLATFORMS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/npmnv3-platforms}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
pictures=("$root"/weights/examples/*.png)
skipped=75 # exit code of a platform that cannot be had here

# numpy_in FOLDER SPEC PYTHON [IMPLEMENTATION ABI]: NumPy's wheel for x86-64 Linux, unpacked.
numpy_in() { wheels_in "$1" x86_64 "$3" "${4:-cp}" "${5:-cp${3/./}}" "$2"; }

# wheels_in FOLDER MACHINE PYTHON IMPLEMENTATION ABI SPEC...: packages' wheels for Linux, and what they need, unpacked.
wheels_in() {
    [ -d "$1/numpy" ] && return
    local platforms=()
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_17 manylinux2014; do platforms+=(--platform "${tag}_$2"); done
    "$python" -m pip install -q --no-compile --only-binary=:all: --target "$1" --python-version "$3" --implementation "$4" \
        --abi "$5" "${platforms[@]}" "${@:6}"
}

# debian FOLDER ARCHITECTURE SUITE PACKAGE...: the packages and all that they depend on, unpacked; nothing is installed.
debian() {
    local folder=$1 arch=$2 suite=$3 mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -f "$folder/complete" ] && return
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1)
    [ -n "$mirror" ] && [ -f "$keys" ] && command -v dpkg > /dev/null || return $skipped
    mkdir -p "$folder"/apt/{state/lists/partial,cache/archives/partial,none}
    : > "$folder/apt/status"
    echo "deb [signed-by=$keys] $mirror $suite main" > "$folder/apt/sources.list"
    local options=(-qq -o Dir::State="$folder/apt/state" -o Dir::State::status="$folder/apt/status"
        -o Dir::Cache="$folder/apt/cache" -o Dir::Etc::sourcelist="$folder/apt/sources.list"
        -o Dir::Etc::sourceparts="$folder/apt/none" -o APT::Architecture="$arch" -o APT::Architectures="$arch"
        -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)")
    apt-get "${options[@]}" update || return
    apt-get "${options[@]}" --download-only -y install "${@:4}" || return
    for package in "$folder"/apt/cache/archives/*.deb; do dpkg -x "$package" "$folder" || return; done
    rm -r "$folder/apt"
    touch "$folder/complete"
}

# in_debian FOLDER TRIPLET PYTHON NUMPY'S-FOLDER ARGUMENT...: run an unpacked Python, with `emulator` where it is foreign.
in_debian() {
    local folder=$1 triplet=$2 interpreter=$3 numpy=$4 lib
    lib=$folder/usr/lib/$triplet/blas:$folder/usr/lib/$triplet/lapack:$folder/usr/lib/$triplet:$folder/lib/$triplet
    shift 4
    if [ -n "${emulator:-}" ]; then
        "$emulator" -L "$folder" -E LD_LIBRARY_PATH="$lib" -E PYTHONPATH="$numpy" -E PYTHONHOME="$folder/usr" \
            "$folder/usr/bin/$interpreter" "$@"
    else
        local loader
        loader=$(find "$folder/lib/" "$folder/usr/lib/" -maxdepth 2 -name 'ld-linux*.so.2' 2> /dev/null | head -1)
        PYTHONPATH=$numpy PYTHONHOME=$home "$loader" --library-path "$lib" "$folder/usr/bin/$interpreter" "$@"
    fi
}

# host_python X.Y: a Python of this version that this machine has.
host_python() {
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python /usr/bin/"python$1"; do
        # Its own word for where it is: what lies on the path may be a script that looks for it.
        "$candidate" -c "import sys; '%d.%d' % sys.version_info[:2] == '$1' or sys.exit(1); print(sys.executable)" 2> /dev/null && return
    done
    return 1
}

# Each platform defines run, which takes a Python's arguments. (bash ignores set -e in here, so every step says "or return".)
platform_isolated() { # no site-packages, no environment: NumPy's folder and nothing else
    numpy_in "$cache/isolated" numpy "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || return
    run() {
        "$python" -I -S -c 'import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$cache/isolated" "$@"
    }
}
platform_venv() { # an environment in which NumPy is all that was installed
    [ -x "$cache/venv/bin/python" ] || "$python" -m venv "$cache/venv" || return
    "$cache/venv/bin/python" -m pip install -q numpy || return
    run() { "$cache/venv/bin/python" -I "$@"; }
}
platform_oldest() { of_version 3.10 1.22.0; }
of_version() { # PYTHON [NUMPY]
    interpreter=$(host_python "$1") || return $skipped
    numpy=$cache/numpy-$1-${2:-newest}
    numpy_in "$numpy" "numpy${2:+==$2}" "$1" || return
    run() { PYTHONPATH=$numpy "$interpreter" -S "$@"; }
}
platform_python3.9() { of_version 3.9 1.22.0; }
platform_python3.10() { of_version 3.10; }
platform_python3.11() { of_version 3.11; }
platform_python3.12() { of_version 3.12; }
platform_python3.13() { of_version 3.13; }
platform_python3.14() { # this machine's own or, as Debian's stable has none yet, unstable's
    of_version 3.14 && return
    debian "$cache/python3.14" amd64 sid python3.14-minimal libpython3.14-stdlib || return
    numpy_in "$cache/numpy-3.14" numpy 3.14 || return
    home=$cache/python3.14/usr
    run() { in_debian "$cache/python3.14" x86_64-linux-gnu python3.14 "$cache/numpy-3.14" "$@"; }
}
platform_pypy() {
    debian "$cache/pypy" amd64 bookworm pypy3 || return
    numpy_in "$cache/numpy-pypy" 'numpy<2.1' 3.9 pp pypy39_pp73 || return
    home=
    run() { in_debian "$cache/pypy" x86_64-linux-gnu pypy3 "$cache/numpy-pypy" "$@"; }
}
platform_i386() { # 32 bits, on this processor itself
    debian "$cache/i386" i386 bookworm python3-numpy || return
    home=$cache/i386/usr
    run() { in_debian "$cache/i386" i386-linux-gnu python3.11 "$cache/i386/usr/lib/python3/dist-packages" "$@"; }
}
platform_armhf() { emulated armhf arm-linux-gnueabihf arm; }
platform_s390x() { emulated s390x s390x-linux-gnu s390x; }
platform_aarch64() { # with the wheels that everybody gets there, and so with the compiled engines
    wheels_in "$cache/wheels-aarch64" aarch64 3.11 cp cp311 numpy h5py pillow tqdm llvmlite numba || return
    emulated arm64 aarch64-linux-gnu aarch64 "$cache/wheels-aarch64" python3.11-minimal libpython3.11-stdlib libstdc++6 || return
    engines() { NPMNV3_CACHE=$cache/kernels-aarch64 NUMBA_CACHE_DIR=$cache/loops-aarch64 run "$here/check_engines.py"; }
}
emulated() { # ARCHITECTURE TRIPLET QEMU'S-NAME [NUMPY'S-FOLDER PACKAGE...]
    debian "$cache/qemu" amd64 bookworm qemu-user-static || return
    [ $# -gt 3 ] || set -- "$@" "$cache/$1/usr/lib/python3/dist-packages" python3-numpy
    debian "$cache/$1" "$1" bookworm "${@:5}" || return
    arch=$1 triplet=$2 emulator=$cache/qemu/usr/bin/qemu-$3-static packages=$4
    run() { in_debian "$cache/$arch" "$triplet" python3.11 "$packages" "$@"; }
}

failed() { # STATUS SCRIPT [OUTPUT]: say what ended how; what dies of a signal (139: a crash) says nothing itself
    { echo "$2 ended with exit code $1"; echo "${3-$(cat "$work/out")}"; } >&2
}

seconds() { # of processor time that a command takes, the least of three; its output goes to a file, so that a failure can be shown
    local TIMEFORMAT='%U %S'
    for _ in 1 2 3; do
        { time "$@" > "$work/out" 2>&1; } 2>> "$work/times" || { failed $? "$2"; return 1; }
    done
    awk '{ used = $1 + $2; if (NR == 1 || used < least) least = used } END { printf "%.2f s", least }' "$work/times"
    rm "$work/times"
}

check() { # NAME: prints a row of the table
    local status=0 row import cold
    "platform_$1" || status=$?
    if [ $status = $skipped ]; then
        echo "| $1 | cannot be had on this machine |"
        return $skipped
    fi
    [ $status = 0 ] || return
    row=$(run "$here/check.py" compare "$work/expected.json" "$work/classifier.pyz" "$work/dump.npz" "${pictures[@]}") || { failed $? check.py "$row"; return 1; }
    import=$(seconds run "$here/import_numpy.py") || return
    cold=$(seconds run "$work/classifier.pyz" --json "${pictures[0]}") || return
    if declare -F engines > /dev/null; then # a platform that has the compiled ones
        engines > "$work/$1.engines" || { failed $? check_engines.py "$(cat "$work/$1.engines")"; return 1; }
    fi
    echo "| $1 | $row | $import | $cold |"
}

cd "$root"
"$python" - "$work" << 'END'
import sys

import npmnv3
from npmnv3.freezing import freeze

dump, archive = f"{sys.argv[1]}/dump.npz", f"{sys.argv[1]}/classifier.pyz"
model = npmnv3.load("ppocr/text_direction", engine="numpy")
npmnv3.write_dump(dump, model.params, model="ppocr/text_direction", labels=model.labels)
freeze(npmnv3.load(dump, engine="numpy"), archive)
END
"$python" "$here/check.py" write "$work/expected.json" "$work/classifier.pyz" "$work/dump.npz" "${pictures[@]}"

all=(isolated venv oldest python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 pypy i386 armhf s390x aarch64)
[ $# -gt 0 ] || set -- "${all[@]}"
wrong=0 reports=()
echo "Frozen text_direction: $(stat -c %s "$work/classifier.pyz") bytes; logits beside those of $("$python" -V) on $(uname -m), times are the processor's:"
echo "| platform | Python | NumPy | machine | frozen | package | import numpy | cold start |"
echo "|:--|:--|:--|:--|:--|:--|--:|--:|"
for name; do
    declare -F "platform_$name" > /dev/null || { echo "no platform $name; there are ${all[*]}" >&2; exit 2; }
    status=0
    (check "$name") || status=$?
    if [ $status != 0 ] && [ $status != $skipped ]; then
        echo "| $name | FAILED |"
        wrong=1
    fi
    [ ! -s "$work/$name.engines" ] || reports+=("$work/$name.engines")
done
[ ${#reports[@]} = 0 ] || { echo; cat "${reports[@]}"; }
exit $wrong
