"""What a network is: a row of the table becomes a plan, a flat tuple of steps, and questions to it are folds over that tuple. No arrays but in `folding`."""
