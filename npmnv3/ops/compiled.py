"""Whether the loops are compiled already, told without importing Numba.

When all of them are compiled for a dtype, a small record of Numba's cache files is kept, under a hash of everything on
which Numba's choice of files depends. It holds as long as those files are unchanged. In doubt the answer is no.
"""

import hashlib
import json
import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .processor import named

SOURCE = Path(__file__).with_name("loops.py")
SOURCES = (SOURCE, *map(SOURCE.with_name, ("layer_loops.py", "integer_loops.py")))

_in_this_process = set()  # names of dtypes


def compiled(dtype):
    """True only if all loops are compiled for this dtype, in this process or in a cache that Numba will find."""
    name = np.dtype(dtype).name
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    return name in _in_this_process or any(_holds(path) for path in _records(name))


def record(names, folders):
    """Say that all loops are compiled for the dtypes of these names, Numba's cache for them being in `folders`."""
    _in_this_process.update(names)
    version = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
    names_of_files = [f"{source.stem}.*.{version}.*nb[ci]" for source in SOURCES]
    files = [path for folder in folders for pattern in names_of_files for path in Path(folder).glob(pattern)]
    for name in names if files else ():
        for path in _records(name):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({str(file.absolute()): _stamp(file) for file in files}), "ascii")
                break
            except OSError:  # the other folder, or none: then later processes compile, or load what they find
                continue


def _holds(path):
    try:
        files = json.loads(path.read_text("ascii"))
        return all(_stamp(file) == stamp and os.access(os.path.dirname(file), os.W_OK) for file, stamp in files.items())
    except (OSError, ValueError):
        return False


def _stamp(file):
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns]


def _records(name):
    """Where a record may be: beside the source, or in the user's cache."""
    try:
        key = hashlib.sha256(repr(_facts()).encode()).hexdigest()[:32]
    except (OSError, AttributeError):  # a source in a zip file, or no Numba
        return []
    user = os.environ.get("NPMNV3_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [folder / f"{SOURCE.stem}-{name}-{key}.json" for folder in (_in_tree(), Path(user, "npmnv3").expanduser())]


def _in_tree():
    return SOURCE.parent / "__pycache__"


def _in_tree_writable():
    return os.access(_in_tree() if _in_tree().exists() else SOURCE.parent, os.W_OK)


def _facts():
    """Numba keeps code by its own version, the source and the processor; its variables say more, and where it looks."""
    yaml = Path(".numba_config.yaml")
    versions = [Path(find_spec(package).origin).with_name("_version.py") for package in ("numba", "llvmlite")]
    folder = os.environ.get("NUMBA_CACHE_DIR")
    return (
        sys.version, platform.machine(), named(), [(path, path.read_bytes()) for path in versions],
        SOURCE.absolute(), [(source.read_bytes(), _stamp(source)) for source in SOURCES], _in_tree_writable(), os.path.expanduser("~"),
        sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_")), folder and os.path.abspath(folder),
        yaml.read_bytes() if yaml.exists() else None,
    )  # fmt: skip
