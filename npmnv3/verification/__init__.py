"""A port's tensors against the reference: matched, measured, explained by known faults, reported."""
