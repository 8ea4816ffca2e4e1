"""A quantised network: exact integers by a named engine's kernels."""

from ..engines.integer_engine import make_integer_engine
from ..errors import UsageError
from ..ops.kernel_sets import get_kernel_set
from ..pictures import recipes
from .classifier import Classifier


class QuantizedModel(Classifier):
    """A quantised network with its integers; made by `npmnv3.load` of a quantised dump.

    Attributes
    ----------
    variant : Variant, or None where the network is none of the known
    num_classes : int
    labels : tuple of str, one a class
    preprocess : Preprocess, how `predict` prepares pictures, at the network's own input size
    plan : IntegerPlan
    kernels : str, whose integers
    engine, dtype : "int8", float32

    Example
    -------
        model = npmnv3.load("q.npz", kernels="tflite-reference")
        model.trace(x, integers=True)["blocks.0.depthwise"]
    """

    def __init__(self, quantized, kernels=None, engine="auto"):
        self._made_from = quantized, kernels, engine
        kernels = get_kernel_set(kernels or quantized.kernels or None)
        self.variant, self.num_classes, self.plan = quantized.variant, quantized.num_classes, quantized.plan
        self.attributes, self.label_source = dict(quantized.attributes), quantized.labels
        self.in_channels = self.plan.input_shape[0]
        self.preprocess = self._recipe(quantized.preprocess)
        self.kernels = kernels.name
        self._engine = make_integer_engine(self.plan, kernels, engine)
        self.engine, self.dtype = self._engine.name, self._engine.dtype

    def __repr__(self):
        return f"<npmnv3.QuantizedModel {self.name}, {self.num_classes} classes, {self.kernels}>"

    def __reduce__(self):
        return QuantizedModel, self._made_from

    def _recipe(self, recipe):
        """The dump's, or the network's usual one, at the side that the integers are for; None where neither is known."""
        if recipe is None and self.variant is not None:
            usual = recipes.RECIPES[self.variant.preprocess]
            recipe = recipes.at_side(usual, self.plan.input_shape[1:])
        return None if recipe is None else recipes.for_planes(recipe, self.in_channels)

    def predict_each(self, pictures, top=5):
        """As `Classifier.predict_each`; UsageError where nothing says how pictures are prepared."""
        if self.preprocess is None:
            raise UsageError("nothing says how this network's pictures are prepared: give it arrays, model(x)")
        return super().predict_each(pictures, top)

    def trace(self, x, *, integers=False):
        """Every stored tensor.

        Parameters
        ----------
        x : (N, C, H, W) floats, preprocessed pictures
        integers : bool, the stored integers, not what they stand for

        Returns
        -------
        dict {step's name: (N, C, H, W) or (N, C)}, float32 or the integers' dtype; "input" comes first
        """
        return self._engine.trace(self._input(x), integers=integers)

    @property
    def side(self):
        """(height, width) of the one input that it takes, pixels."""
        return tuple(self.plan.input_shape[1:])

    def plan_for(self, side=None):
        """The integer steps for an input of (height, width) pixels, which is the network's own."""
        if side is not None:
            self._check_side(side)
        return self.plan.steps

    def _check_side(self, side):
        if tuple(side) != self.plan.input_shape[1:]:
            raise UsageError(
                f"an input of {side[0]} x {side[1]} pixels; this quantised network takes "
                f"{self.plan.input_shape[1]} x {self.plan.input_shape[2]} (height x width) alone"
            )
