"""What a network is: a row of the table becomes a plan, a flat tuple of steps; what is asked of it is a fold over that.

`spec` has the records of the table, `variants` its rows, `plan` makes steps (`steps`) of them; `walk` runs through them,
`counts` counts them, `folding` folds their norms.
"""
