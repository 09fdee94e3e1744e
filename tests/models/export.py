"""Export the tiny random-weight models of this folder with PyTorch's two exporters, with inputs and outputs.

    pip install torch transformers onnxscript
    python tests/models/export.py

Each model is NAME.onnx with NAME.npz, which holds `in.INPUT` and `out.OUTPUT` arrays; outputs are ONNX Runtime's,
without its optimizations. `brevitas_w8a8_qcdq` was exported by Brevitas 0.13.4 (`export_onnx_qcdq`) from an encoder of
2 layers, width 64, 4 heads and 17 tokens with random weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

HERE = Path(__file__).parent
TOKENS = 12


class FirstOutput(nn.Module):
    """A model of tensors by position that gives its first output only."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """Call the model by keyword."""
        return self.model(**dict(zip(self.names, tensors, strict=True)), return_dict=False)[0]


def ids(vocabulary: int) -> Tensor:
    """Random token ids [1, TOKENS]."""
    return torch.randint(0, vocabulary, (1, TOKENS))


def mask() -> Tensor:
    """An attention mask that hides the last three tokens."""
    return torch.cat([torch.ones(1, TOKENS - 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64)], 1)


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    """Post-norm encoder with embeddings and a padding mask."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=60, max_position_embeddings=16, **size), add_pooling_layer=False)
    inputs = {
        "input_ids": ids(60),
        "attention_mask": mask(),
        "token_type_ids": torch.zeros(1, TOKENS, dtype=torch.int64),
    }
    return FirstOutput(model, *inputs), inputs


def gpt2() -> tuple[nn.Module, dict[str, Tensor]]:
    """Causal decoder with a padding mask and a tied head."""
    config = GPT2Config(vocab_size=60, n_positions=16, n_embd=32, n_layer=2, n_head=2, use_cache=False)
    inputs = {"input_ids": ids(60), "attention_mask": mask()}
    return FirstOutput(GPT2LMHeadModel(config), *inputs), inputs


def llama() -> tuple[nn.Module, dict[str, Tensor]]:
    """Causal decoder with RMS norms, rotary embeddings and grouped-query attention."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=60, max_position_embeddings=16, use_cache=False, **size, **heads)
    inputs = {"input_ids": ids(60)}
    return FirstOutput(LlamaForCausalLM(config), *inputs), inputs


def vit() -> tuple[nn.Module, dict[str, Tensor]]:
    """Pre-norm encoder over image patches."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTForImageClassification(ViTConfig(image_size=16, patch_size=4, num_labels=5, **size))
    inputs = {"pixel_values": torch.randn(1, 3, 16, 16)}
    return FirstOutput(model, *inputs), inputs


def export(name: str, make: Callable[[], tuple[nn.Module, dict[str, Tensor]]], dynamo: bool, opset: int) -> None:
    """Export one model by one exporter, and what ONNX Runtime makes of it."""
    torch.manual_seed(0)
    model, inputs = make()
    model.eval()
    path = HERE / f"{name}.onnx"
    arguments = tuple(inputs.values())
    names = {"input_names": list(inputs), "output_names": ["output"], "opset_version": opset}
    if dynamo:
        exported = torch.onnx.export(model, arguments, dynamo=True, **names)
        assert exported is not None
        proto = exported.model_proto
    else:
        axes = {key: {0: "batch", 1: "sequence"} for key in inputs} if name.endswith("dynamic") else None
        torch.onnx.export(model, arguments, path, dynamo=False, dynamic_axes=axes, **names)
        proto = onnx.load(path)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.save(proto, path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    arrays = {key: value.numpy() for key, value in inputs.items()}
    outputs = dict(zip([item.name for item in session.get_outputs()], session.run(None, arrays), strict=True))
    saved = {f"in.{key}": array for key, array in arrays.items()}
    saved |= {f"out.{key}": np.asarray(array) for key, array in outputs.items()}
    np.savez_compressed(HERE / f"{name}.npz", **saved)
    print(f"{name}: {path.stat().st_size:,} bytes, {len(proto.graph.node)} nodes")


def main() -> None:
    """Export everything."""
    export("bert_dynamo", bert, dynamo=True, opset=20)
    export("bert_torchscript_dynamic", bert, dynamo=False, opset=17)
    export("gpt2_dynamo", gpt2, dynamo=True, opset=18)
    export("llama_dynamo", llama, dynamo=True, opset=20)
    export("vit_dynamo", vit, dynamo=True, opset=18)


if __name__ == "__main__":
    main()
