#!/usr/bin/env bash
# The package from a zip, under python -OO, installed with --target, and packed with PyInstaller: each classifies the examples
# with the weights that ship, names a class of ImageNet's, and writes a frozen file and a kit for C.
#
#     bash tests/platforms/packaging.sh [FOLDER]      a folder that is kept; default a new one, which is removed
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ $# -gt 0 ]; then work=$1; mkdir -p "$work"; else work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; fi
cd "$work"
[ -d venv ] || { ${PYTHON:-python3} -m venv venv; venv/bin/pip -q install pyinstaller numba h5py pillow tqdm; }
rm -rf wheel target unpacked && mkdir wheel unpacked
venv/bin/pip -q wheel "$root" --no-deps -w wheel
venv/bin/pip -q install --no-deps --force-reinstall wheel/*.whl
cat > try.py << 'PYTHON'
import glob, pathlib, sys, tempfile

import npmnv3
from npmnv3.cli import main
from npmnv3.dumps.labels import label_set
from npmnv3.evaluation.truths import ilsvrc2012_synsets

examples = sorted(glob.glob(sys.argv[1] + "/weights/examples/*.png"))
found = [best[0][1] for best in npmnv3.load("ppocr/text_direction").predict(examples, top=1)]
assert found == ["0", "180"] * 3, found
if not (label_set("imagenet")[1].name == "goldfish" and len(ilsvrc2012_synsets()) == 1000):
    raise SystemExit("tables are missing")
with tempfile.TemporaryDirectory() as folder:
    for words in (f"freeze ppocr/text_direction -o {folder}/x.pyz", f"vectors ppocr/text_direction --format c -o {folder}/kit"):
        if main(words.split()):
            raise SystemExit(words)
    if not pathlib.Path(folder, "kit", "check.c").stat().st_size:
        raise SystemExit("check.c is missing")
print("FINE", npmnv3.__file__, npmnv3.load("ppocr/text_direction").engine)
PYTHON

say() { printf '%-14s %s\n' "$1" "$2"; }
run() { # what it is, and how
    name=$1; shift
    if "$@" > "$name.log" 2>&1 && grep -q '^FINE' "$name.log"; then say "$name" "$(grep '^FINE' "$name.log")"; else say "$name" "FAILED, see $work/$name.log"; failed=1; fi
}
failed=0
export PYTHONPATH=
run installed venv/bin/python -W error try.py "$root"
run optimised venv/bin/python -OO try.py "$root"
venv/bin/pip -q uninstall -y npmnv3
run zip env PYTHONPATH="$(echo "$PWD"/wheel/*.whl)" venv/bin/python -W error try.py "$root"
venv/bin/pip -q install --no-deps --target target wheel/*.whl
run target env PYTHONPATH="$PWD/target" venv/bin/python try.py "$root"
venv/bin/pip -q install --no-deps wheel/*.whl
venv/bin/pyinstaller --noconfirm --onedir --log-level ERROR try.py > pyinstaller-build.log 2>&1 || failed=1
run pyinstaller dist/try/try "$root"
exit $failed
