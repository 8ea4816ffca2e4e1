"""Weights as files.

dumps, quantized            what a dump, or a quantised one, must hold     attributes, problems   of dumps
containers, hdf5, npy       files of named arrays                          reader, writing        of any file
registry, folders           where published and fetched weights are        labels                 names of classes
"""
