"""The engines: each makes a function from a batch of pictures to logits, or says why it cannot.

An engine is a function (network, batch, threads) -> callable (x) -> logits. It imports what it needs when it is called,
so that an ImportError means: not installed.
"""

import contextlib
import importlib.util
import os
import tempfile


def _ours(engine):
    def build(network, batch, threads):
        from npmnv3.engines import make_engine

        return make_engine(engine, network.plan_for, network.params, "float32", threads=threads).run

    return build


def onnxruntime(network, batch, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(network.onnx(batch), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def openvino(network, batch, threads):
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(network.onnx(batch)), "CPU", settings).create_infer_request()
    return lambda x: request.infer([x])[request.model_outputs[0]]


def torch_eager(network, batch, threads):
    import torch

    from .torch_network import TorchNetwork

    torch.set_num_threads(threads)
    module = TorchNetwork(network.plan, network.params).eval().to(memory_format=torch.channels_last)

    def run(x):
        with torch.inference_mode():
            return module(torch.from_numpy(x).to(memory_format=torch.channels_last)).numpy()

    return run


def litert(network, batch, threads):
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter

    from .torch_network import TorchNetwork

    sample = (torch.zeros(batch, 3, *network.side),)
    converted = litert_torch.convert(TorchNetwork(network.plan, network.params).eval(), sample)
    interpreter = Interpreter(model_content=converted.model_content(), num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x):
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


@contextlib.contextmanager
def _silence():
    """Keep programs that are started from writing to standard output."""
    before = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def ncnn_engine(network, batch, threads):
    import ncnn
    import numpy as np
    import pnnx
    import torch

    from .torch_network import TorchNetwork

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    sample = torch.zeros(1, 3, *network.side)
    with tempfile.TemporaryDirectory() as folder:
        with _silence():
            pnnx.export(
                TorchNetwork(network.plan, network.params).eval(), f"{folder}/network.pt", (sample,), fp16=False
            )
        net.load_param(f"{folder}/network.ncnn.param")
        net.load_model(f"{folder}/network.ncnn.bin")

    def one(picture):
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(picture))
            return np.array(extractor.extract("out0")[1])

    return lambda x: np.stack([one(picture) for picture in x])  # it has no batches


#: name in the tables -> (engine, packages that it needs)
ENGINES = {
    "npmnv3 llvm": (_ours("llvm"), ("llvmlite",)),
    "onnxruntime": (onnxruntime, ("onnxruntime", "onnx")),
    "openvino": (openvino, ("openvino", "onnx")),
    "litert": (litert, ("ai_edge_litert", "litert_torch", "torch")),
    "ncnn": (ncnn_engine, ("ncnn", "pnnx", "torch")),
    "torch": (torch_eager, ("torch",)),
    "npmnv3 numba": (_ours("numba"), ("numba",)),
    "npmnv3 numpy": (_ours("numpy"), ()),
}


def installed():
    """(names of the engines that can be measured, {name of another one: packages it lacks})."""
    lacking = {
        name: missing
        for name, (_, packages) in ENGINES.items()
        if (missing := [package for package in packages if importlib.util.find_spec(package) is None])
    }
    return [name for name in ENGINES if name not in lacking], lacking
