"""Quantised ports against the exact integers of each kernel set: equal or not, never nearly.

`tensors` reads a device's integers, `matching` finds which step each of them is, `forced` runs every step on the port's own
inputs, `explain` names the rule that explains what is not equal (`changes` is the table of them), `weights` and `cost` hold
the port against the float network, `run` puts them together and `report` has the words.
"""
