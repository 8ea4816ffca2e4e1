"""The operations of a plan. `reference` is their definition, in NumPy."""
