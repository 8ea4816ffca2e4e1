"""Which network a checkpoint is, and which array is which parameter: by their names, by their order, or along a graph."""
