"""Frozen TorchScript (torch.jit.freeze): the code of one function, whose weights are constants without names."""

from ...errors import WeightsError
from .record import Checkpoint, Operation
from .states import as_entries
from .torch_code import constant_name, program_of_code
from .torch_pickles import Tensor

SAVE = "torch.save(model.state_dict(), 'weights.pth')"
_INSTEAD = f"give the state dict of the model that it was made of, {SAVE}, or its ONNX export"
_LAYERS = ("conv2d", "batch_norm", "matmul")  # other constants are no weights: a mean of pictures
_ONEDNN = "mkldnn"


def read_frozen(top, code, constants, file_size):
    """The Checkpoint of a module whose code `torch_code.program_of_code` follows, its arrays in the order of use."""
    stored = {constant_name(i): value for i, value in enumerate(constants) if isinstance(value, Tensor)}
    operations, reason = program_of_code(top, {name: name for name in stored}, code, constants)
    if _ONEDNN in reason:
        raise WeightsError(
            "a TorchScript module after torch.jit.optimize_for_inference, which lays weights out for oneDNN, as torch neither "
            f"saves nor loads them: save the module before that; or {_INSTEAD}"
        )
    if not operations:
        raise WeightsError(f"a frozen TorchScript module whose code is not followed{reason}; {_INSTEAD}")
    layers = [operation for operation in operations if operation.kind in _LAYERS]
    used = [name for layer in layers for name in layer.inputs if name in stored]
    if len(set(used)) < len(used):
        raise WeightsError(
            f"a frozen TorchScript module with {len(set(used))} weights for {len(used)} places: equal ones are stored once, of a "
            f"network that was not trained at least; {_INSTEAD}"
        )
    arrays = as_entries({name: stored[name] for name in used}, file_size)
    others = [Operation("full", (), (name,), {}) for name in stored if name not in used]
    note = "a frozen TorchScript module: its weights are taken in the order of its code, which is compared"
    return Checkpoint("torch-frozen", arrays, notes=(note,), program=(*others, *operations))
