"""Weights as files: what a dump must hold (`dumps`), HDF5 and .npz (`containers`, `hdf5_texts`), the published ones (`registry`), names of classes (`labels`)."""
