"""Random networks, layer by layer, within the bound derived for each; `layer_bounds.py` does hundreds of them."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import layer_bounds

from npmnv3.engines.llvm.compiler import library


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_every_layer_is_within_its_bound(seed):
    assert layer_bounds.check(seed) > 1e-3  # a bound that nothing comes near would show nothing


@pytest.mark.parametrize("width", ("4", "16"))
def test_other_vector_widths(width, monkeypatch):
    monkeypatch.setenv("NPMNV3_VECTOR", width)
    layer_bounds.check(1010)


def test_weights_off_by_a_hundredth_are_seen(monkeypatch):
    _, plan, _, params, x = layer_bounds.case_of(1020)
    exact = layer_bounds.fold

    def off(plan, params):
        folded = exact(plan, params)
        return {name: (weight * np.float32(1.01), bias) for name, (weight, bias) in folded.items()}

    tensors = layer_bounds.Tensors

    def made_with_the_true_weights(layers, _, picture):
        folded = exact(plan, params)
        return tensors(layers, layer_bounds.Weights(layers, folded, library().machine), picture)

    monkeypatch.setattr(layer_bounds, "fold", off)
    monkeypatch.setattr(layer_bounds, "Tensors", made_with_the_true_weights)
    worst, _ = layer_bounds.worst_of_layers(plan, params, x[0])
    seen = [name for name in exact(plan, params) if worst[name] > 1]
    assert len(seen) > 0.9 * len(exact(plan, params)), set(exact(plan, params)) - set(seen)
