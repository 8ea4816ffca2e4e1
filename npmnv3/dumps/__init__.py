"""Weights as files: dumps.

What a dump, or a quantised one, must hold (`dumps`, `quantized`, `attributes`, `problems`); files of named arrays
(`containers`, `hdf5`, `npy`); how any file is read and written (`reader`, `writing`); where published and fetched
weights are (`registry`, `folders`); names of classes (`labels`).
"""
