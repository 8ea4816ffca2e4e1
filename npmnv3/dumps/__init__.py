"""Weights as files: what a dump must hold (`dumps`), HDF5 and .npz (`containers`, `hdf5`, `npy`, `writing`), the published ones (`registry`), names of classes (`labels`)."""
