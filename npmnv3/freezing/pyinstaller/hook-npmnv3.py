"""What PyInstaller packs with npmnv3: modules that are imported by name, tables, the shipped weights, and packages that
are only imported when they are needed, of which it takes those that are installed.
"""

from PyInstaller.utils.hooks import can_import_module, collect_data_files, collect_submodules

LATE = ("h5py", "PIL", "tqdm", "numba", "llvmlite", "llvmlite.binding", "onnx", "pooch", "platformdirs", "certifi")

hiddenimports = collect_submodules("npmnv3", filter=lambda name: "pyinstaller" not in name)
hiddenimports += [name for name in LATE if can_import_module(name)]
datas = collect_data_files("npmnv3", include_py_files=True, includes=["**/*.csv", "**/*.h5", "**/*.c", "**/*.py"])
