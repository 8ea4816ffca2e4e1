"""For PyInstaller, which finds this by an entry point: what of npmnv3 it cannot see by itself."""

import pathlib


def hook_folders():
    """Where `hook-npmnv3.py` is."""
    return [str(pathlib.Path(__file__).parent)]
