"""The operations of a plan: `definitions` in NumPy, `loops` their twins for Numba, `integers` those of int8 engines."""
