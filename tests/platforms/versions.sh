#!/usr/bin/env bash
# The whole suite with the oldest and with the newest of each package that setup.cfg declares.
#
#     bash tests/platforms/versions.sh [oldest|newest]...      default both; further words go to pytest: -- -n 2
#
# PYTHON_oldest and PYTHON_newest name the Pythons; default pyenv's 3.10 and the newest that is here. Environments are kept in
# ${VERSIONS_CACHE:-~/.cache/npmnv3-versions}. Prints a row each: date, versions, what pytest says last.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${VERSIONS_CACHE:-$HOME/.cache/npmnv3-versions}
which=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do which+=("$1"); shift; done
[ $# -gt 0 ] && shift
[ ${#which[@]} -gt 0 ] || which=(oldest newest)

python_for() { # oldest or newest
    local name=PYTHON_$1
    [ -n "${!name:-}" ] && { echo "${!name}"; return; }
    local minors="10 11 12 13 14"
    [ "$1" = newest ] && minors="14 13 12 11 10"
    for minor in $minors; do
        for found in "$(command -v "python3.$minor" || true)" "$HOME"/.pyenv/versions/3."$minor".*/bin/python; do
            [ -x "$found" ] && "$found" -c 'import sys' 2> /dev/null && { echo "$found"; return; }
        done
    done
}

requirements() { # the declared packages, each at its bound, or free
    "$1" - "$root/setup.cfg" "$2" << 'PYTHON'
import configparser, re, sys

config = configparser.ConfigParser()
config.read(sys.argv[1])
extras = config["options.extras_require"]
lines = [line for group in (config["options"]["install_requires"], *(extras[n] for n in extras if n not in ("all", "bench"))) for line in group.split("\n") if line]
for line in lines:
    name, bound, below = re.fullmatch(r"([\w-]+)(?:>=([\d.]+))?(?:,(<[\d.]+))?", line).groups()
    if sys.argv[2] == "newest" or not bound:
        print(f"{name}{below or ''}")
    else:
        print(f"{name}~={'.'.join([*bound.split('.'), '0', '0'][:3])}")  # its last correction: 3 is 3.0.x, no later 3
PYTHON
}

status=0
for end in "${which[@]}"; do
    python=$(python_for "$end") place=$cache/$end
    wanted=$("$python" -V; requirements "$python" "$end")
    if [ ! -f "$place/complete" ] || [ "$(cat "$place/complete")" != "$wanted" ]; then # a bound moved: all anew
        rm -rf "$place" && "$python" -m venv "$place"
        requirements "$python" "$end" > "$place/requirements.txt"
        # beside the oldest: what they themselves need, of before it warns of how they use it
        [ "$end" = newest ] || echo "pyparsing<3.3" >> "$place/requirements.txt"
        "$place/bin/pip" install -q --prefer-binary "setuptools<81" -r "$place/requirements.txt"
        echo "$wanted" > "$place/complete"
    fi
    if (cd "$root" && PYTHONPATH=$root "$place/bin/python" -m pytest -q -p no:cacheprovider "$@" > "$place/suite.log" 2>&1); then result=passed; else result=FAILED status=1; fi
    versions=$("$place/bin/pip" list --format=freeze 2> /dev/null | grep -iE '^(numpy|h5py|pillow|tqdm|numba|llvmlite|onnx|pooch|matplotlib|distributed|pytest)==' | tr '\n' ' ')
    echo "$(date -u +%F) $end $result: $("$place/bin/python" -V), $versions: $(tail -1 "$place/suite.log")"
done
exit $status
