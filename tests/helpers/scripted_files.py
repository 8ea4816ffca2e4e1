"""torchvision's small network as torch.jit.script and .save write it: a class a module, whose code has branches and calls
functions. The texts are torch 2.13's."""

from module_files import TORCHVISION, settings_of, torchvisions, whole_module

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

_FUNCTIONS = """\
def batch_norm(input: Tensor,
    running_mean: Optional[Tensor],
    running_var: Optional[Tensor],
    weight: Optional[Tensor]=None,
    bias: Optional[Tensor]=None,
    training: bool=False,
    momentum: float=0.10000000000000001,
    eps: float=1.0000000000000001e-05) -> Tensor:
  _3 = __torch__.torch.nn.functional._verify_batch_size
  _4 = "batch_norm eps must be positive during training, but got {}"
  if training:
    _6 = _3(torch.size(input), )
  else:
    pass
  if training:
    _7 = torch.le(eps, 0.)
  else:
    _7 = False
  if _7:
    ops.prim.RaiseException(torch.format(_4, eps), "builtins.ValueError")
  else:
    pass
  _8 = torch.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, True)
  return _8
def adaptive_avg_pool2d(input: Tensor,
    output_size: List[int]) -> Tensor:
  _10 = torch.gt(torch.len(torch.size(input)), torch.len(output_size))
  if _10:
    pass
  else:
    ops.prim.RaiseException("AssertionError: ")
  _11 = torch.adaptive_avg_pool2d(input, output_size)
  return _11
def dropout(input: Tensor,
    p: float=0.5,
    training: bool=True,
    inplace: bool=False) -> Tensor:
  if torch.lt(p, 0.):
    _13 = True
  else:
    _13 = torch.gt(p, 1.)
  if _13:
    ops.prim.RaiseException(torch.format("probability {}", p), "builtins.ValueError")
  else:
    pass
  if inplace:
    _14 = torch.dropout_(input, p, training)
  else:
    _14 = torch.dropout(input, p, training)
  return _14
def pad(input: Tensor,
    pad: List[int],
    mode: str="constant",
    value: Optional[float]=None) -> Tensor:
  return torch.pad(input, pad, mode, value)
def get_same_padding(x: int,
    kernel_size: int,
    stride: int,
    dilation: int) -> int:
  x1 = unchecked_cast(int, x)
  _5 = torch.sub(torch.ceil(torch.div(x1, stride)), 1)
  _6 = torch.mul(_5, stride)
  _7 = torch.mul(torch.sub(kernel_size, 1), dilation)
  _8 = torch.sub(torch.add(torch.add(_6, _7), 1), x1)
  return ops.prim.max(_8, 0)
def pad_same(x: Tensor,
    kernel_size: List[int],
    stride: List[int],
    dilation: List[int]=[1, 1],
    value: float=0.) -> Tensor:
  _0 = __torch__.torch.nn.functional.get_same_padding
  ih, iw, = torch.slice(torch.size(x), -2)
  pad_h = _0(ih, kernel_size[0], stride[0], dilation[0], )
  pad_w = _0(iw, kernel_size[1], stride[1], dilation[1], )
  _1 = torch.floordiv(pad_w, 2)
  _2 = torch.sub(pad_w, torch.floordiv(pad_w, 2))
  _3 = torch.floordiv(pad_h, 2)
  _4 = torch.sub(pad_h, torch.floordiv(pad_h, 2))
  x0 = __torch__.torch.nn.functional.pad(x, [_1, _2, _3, _4], "constant", value, )
  return x0
""" + "".join(
    f"""\
def {name}(input: Tensor,
    inplace: bool=False) -> Tensor:
  if inplace:
    result = torch.{name}_(input)
  else:
    result = torch.{name}(input)
  return result
"""
    for name in ("relu", "hardswish", "hardsigmoid")
)

_BODIES = {
    "BatchNorm2d": """\
    _0 = __torch__.torch.nn.functional.batch_norm
    _1 = (self)._check_input_dim(input, )
    training = self.training
    if training:
      num_batches_tracked = self.num_batches_tracked
      _2 = torch.add_(num_batches_tracked, 1)
    else:
      pass
    training0 = self.training
    if training0:
      bn_training = True
    else:
      bn_training = False
    running_mean = self.running_mean
    running_var = self.running_var
    weight = self.weight
    bias = self.bias
    _3 = _0(input, running_mean, running_var, weight, bias, bn_training, 0.10000000000000001, EPS, )
    return _3
  def _check_input_dim(self: NAME,
    input: Tensor) -> NoneType:
    if torch.ne(torch.dim(input), 4):
      _4 = torch.format("expected 4D input (got {}D input)", torch.dim(input))
      ops.prim.RaiseException(_4, "builtins.ValueError")
    else:
      pass
    return None
""",
    "Conv2d": """\
    weight = self.weight
    bias = self.bias
    _0 = (self)._conv_forward(input, weight, bias, )
    return _0
  def _conv_forward(self: NAME,
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor]) -> Tensor:
    _1 = torch.conv2d(input, weight, bias, WINDOW)
    return _1
""",
    "Linear": """\
    weight = self.weight
    bias = self.bias
    return torch.linear(input, weight, bias)
""",
    "AdaptiveAvgPool2d": """\
    _0 = __torch__.torch.nn.functional.adaptive_avg_pool2d
    return _0(input, [1, 1], )
""",
    "Dropout": """\
    _0 = __torch__.torch.nn.functional.dropout
    training = self.training
    _1 = _0(input, 0.20000000000000001, training, True, )
    return _1
""",
    "SqueezeExcitation": """\
    scale = (self)._scale(input, )
    return torch.mul(scale, input)
  def _scale(self: NAME,
    input: Tensor) -> Tensor:
    avgpool = self.avgpool
    scale = (avgpool).forward(input, )
    fc1 = self.fc1
    scale0 = (fc1).forward(scale, )
    activation = self.activation
    scale1 = (activation).forward(scale0, )
    fc2 = self.fc2
    scale2 = (fc2).forward(scale1, )
    scale_activation = self.scale_activation
    _0 = (scale_activation).forward(scale2, )
    return _0
""",
    "InvertedResidual": """\
    block = self.block
    result = (block).forward(input, )
    use_res_connect = self.use_res_connect
    if use_res_connect:
      result0 = torch.add_(result, input)
    else:
      result0 = result
    return result0
""",
    "MobileNetV3": """\
    return (self)._forward_impl(input, )
  def _forward_impl(self: NAME,
    x: Tensor) -> Tensor:
    features = self.features
    x0 = (features).forward(x, )
    avgpool = self.avgpool
    x1 = (avgpool).forward(x0, )
    x2 = torch.flatten(x1, 1)
    classifier = self.classifier
    return (classifier).forward(x2, )
""",
}
_ACTIVATION = """\
    _0 = __torch__.torch.nn.functional.NAME
    return _0(input, INPLACE, )
"""


def _modules():
    """{dotted name: [kind, attributes]} of all modules."""
    told = settings_of(TORCHVISION, lambda name, about: None)
    told = {name: about for name, about in told.items() if not name.startswith("acts.")}
    places = {}
    torchvisions(places.update)
    told |= places
    for step in make_plan(get_variant(TORCHVISION), 3):
        if step.params:
            told.setdefault(step.params[0].name.rpartition(".")[0], ["Conv2d", {}])
    for name in list(told):
        if name.endswith(".fc1"):
            told[name.replace("fc1", "avgpool")] = ["AdaptiveAvgPool2d", {}]
        if name.endswith("block.0.0"):
            told[name.removesuffix(".0.0")] = ["Sequential", {}]
            told.setdefault(name.removesuffix(".block.0.0"), ["InvertedResidual", {"use_res_connect": False}])
    told |= {"": ["MobileNetV3", {}], "features": ["Sequential", {}], "avgpool": ["AdaptiveAvgPool2d", {}]}
    told |= {"classifier.2": ["Dropout", {}], "classifier.0": ["Linear", {}], "classifier.3": ["Linear", {}]}
    return told


def _body(name, kind, told, windows):
    if kind in ("ReLU", "Hardswish", "Hardsigmoid"):
        return _ACTIVATION.replace("NAME", kind.lower()).replace("INPLACE", str(kind != "Hardsigmoid"))
    if kind in _BODIES:
        window = ", ".join(map(str, windows.get(name, ([1, 1], [0, 0], [1, 1], 1))))
        return _BODIES[kind].replace("EPS", str(told[name][1].get("eps"))).replace("WINDOW", window)
    inner = [one.rpartition(".")[2] for one in told if one and one.rpartition(".")[0] == name]
    lines, value = [f'_{part} = getattr(self, "{part}")' for part in sorted(inner, key=int)], "input"
    for part in sorted(inner, key=int):
        lines.append(f"input{part} = (_{part}).forward({value}, )")
        value = f"input{part}"
    return "".join(f"    {line}\n" for line in (*lines, f"return {value}"))


def scripted(path, changes=(), training=False):
    """Write the network; `changes` are (module's name, "functions" for the functions, old text, new text)."""
    told, windows = _modules(), {}
    for step in make_plan(get_variant(TORCHVISION), 3):
        if step.kernel:
            name, groups = step.params[0].name.rpartition(".")[0], step.shape[0] if "depthwise" in step.op else 1
            windows[name] = list(step.stride), list(step.pad[::2]), [1, 1], groups
    where = {name: f"__torch__.made.___torch_mangle_{i}" for i, name in enumerate(told)}
    texts = {"functions": _FUNCTIONS}
    for name, (kind, _) in told.items():
        full = f"{where[name]}.{kind}"
        head = f"class {kind}(Module):\n  __parameters__ = []\n  training : bool\n"
        head += f"  def forward(self: {full},\n    input: Tensor) -> Tensor:\n"
        texts[name] = head + _body(name, kind, told, windows).replace("NAME", full)
        told[name][1].update(training=training, bias=None)
    for name, old, new in changes:
        assert old in texts[name], (name, old)
        texts[name] = texts[name].replace(old, new)
    files = {f"{where[name].replace('.', '/')}.py": text for name, text in texts.items() if name != "functions"}
    files["__torch__/torch/nn/functional.py"] = texts["functions"]
    extra = [(f"archive/code/{name}", text.encode()) for name, text in files.items()]
    return whole_module(path, TORCHVISION, told=told, scripts=lambda name, kind: f"{where[name]}.{kind}", extra=extra)
