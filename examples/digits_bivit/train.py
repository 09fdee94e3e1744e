"""Train a binarized digits Transformer from the float one, and export it in plain operators and in QONNX.

Writes model_plain.onnx and model_qonnx.onnx here. Weights and activations of every linear layer and of both attention
products have one bit (elastic binarization: a learned scale for each tensor and a learned shift for each channel, after
Liu et al., "BiT: Robustly Binarized Multi-distilled Transformer", 2022); patches, norms, softmax, residuals and the
classifier stay float. It learns from the labels and from the float model's logits (distillation). Needs the
``examples`` extra (PyTorch and scikit-learn); takes about six minutes on one core.

    pip install '.[examples]'
    python examples/digits_bivit/train.py
"""

import math
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import Tensor, nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "digits_vit"))

from train import HEADS, LAYERS, PATCH, WIDTH, DigitsTransformer, shifted  # noqa: E402

EPOCHS, BATCH = 300, 64
TOKENS = 1 + (8 // PATCH) ** 2
QONNX = "qonnx.custom_op.general"


class Sign(torch.autograd.Function):
    """1 where x >= 0, else -1; the gradient passes where |x| <= 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


def rounded(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes."""
    return x + (x.round() - x).detach()


class Binarizer(nn.Module):
    """alpha * sign(x - beta), or alpha * clip(round((x - beta) / alpha), 0, 1); beta goes by channel."""

    def __init__(self, channels: int, unsigned: bool = False) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(float("nan")))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.unsigned = unsigned

    def forward(self, x: Tensor) -> Tensor:
        if torch.isnan(self.alpha):
            with torch.no_grad():
                self.alpha.copy_((4 if self.unsigned else 1) * x.abs().mean().clamp_min(1e-3))
        x = x - self.beta
        if self.unsigned:
            return self.alpha * rounded((x / self.alpha).clamp(0, 1))
        return self.alpha * Sign.apply(x / self.alpha)


class BinaryLinear(nn.Module):
    """A linear layer of signs: each column of the weight is sign(w) times the mean of |w|."""

    def __init__(self, wide: nn.Linear, unsigned: bool = False) -> None:
        super().__init__()
        self.inputs = Binarizer(wide.in_features, unsigned)
        self.weight = nn.Parameter(wide.weight.detach().clone() - wide.weight.detach().mean())
        self.bias = nn.Parameter(wide.bias.detach().clone())

    @property
    def scale(self) -> Tensor:
        """The mean magnitude of each column, [out, 1]."""
        return self.weight.abs().mean(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scale
        return nn.functional.linear(self.inputs(x), scale.detach() * Sign.apply(self.weight / scale), self.bias)


class BinaryBlock(nn.Module):
    """An encoder layer of `digits_vit` with binary products."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = block.attention_norm, block.feed_forward_norm
        self.query, self.key, self.value, self.out = (
            BinaryLinear(layer) for layer in (block.query, block.key, block.value, block.out)
        )
        self.up, self.down = BinaryLinear(block.up), BinaryLinear(block.down, unsigned=True)
        self.queries, self.keys, self.values = (Binarizer(WIDTH) for _ in range(3))
        self.weights = Binarizer(1, unsigned=True)

    def heads(self, x: Tensor) -> Tensor:
        """Split [images, tokens, width] into [images, heads, tokens, width of a head]."""
        return x.reshape(x.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.attention_norm(x)
        query, key = self.heads(self.queries(self.query(normal))), self.heads(self.keys(self.key(normal)))
        value = self.heads(self.values(self.value(normal)))
        scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        context = (self.weights(scores.softmax(-1)) @ value).transpose(1, 2).reshape(x.shape)
        x = x + self.out(context)
        return x + self.down(self.up(self.feed_forward_norm(x)).relu())


def float_model() -> DigitsTransformer:
    """The trained float model, its weights read back from its ONNX file."""
    graph = onnx.load(HERE.parent / "digits_vit" / "model.onnx").graph
    known = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    model = DigitsTransformer()
    state = model.state_dict()
    for node in graph.node:
        biases = [name for name in node.input if name in state and name.endswith(".bias")]
        for name in biases if node.op_type == "Add" else ():
            product = producers[next(other for other in node.input if other != name)]
            state[name.replace("bias", "weight")] = known[product.input[1]].T
        if node.op_type == "Concat":
            state["class_token"] = next(known[name] for name in node.input if name in known).reshape(1, 1, WIDTH)
    state.update({name: known[name] for name in state if name in known})
    model.load_state_dict(state)
    return model


class Graph:
    """Collects the nodes and initializers of an ONNX graph; `qonnx` chooses the spelling of binarizers."""

    def __init__(self, qonnx: bool) -> None:
        self.qonnx = qonnx
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: object) -> str:
        """An initializer, float32 unless the value is of integers."""
        array = np.asarray(value.detach() if isinstance(value, Tensor) else value)
        stored = array if array.dtype.kind == "i" else array.astype(np.float32)
        self.initializers[name] = numpy_helper.from_array(np.array(stored, order="C"), name)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node named after its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def binarize(self, binarizer: Binarizer, x: str, name: str) -> str:
        """A binarizer of activations."""
        shift, scale = self.constant(f"{name}.beta", binarizer.beta), self.constant(f"{name}.alpha", binarizer.alpha)
        moved = self.node("Sub", [x, shift], f"{name}.moved")
        zero, one = self.constant("zero", 0.0), self.constant("one", 1.0)
        if self.qonnx and binarizer.unsigned:
            options = {"signed": 0, "narrow": 0, "rounding_mode": "ROUND"}
            return self.node("Quant", [moved, scale, zero, one], name, domain=QONNX, **options)
        if self.qonnx:
            return self.node("BipolarQuant", [moved, scale], name, domain=QONNX)
        if binarizer.unsigned:
            divided = self.node("Div", [moved, scale], f"{name}.divided")
            clipped = self.node("Clip", [self.node("Round", [divided], f"{name}.round"), zero, one], f"{name}.bit")
        else:
            positive = self.node("GreaterOrEqual", [moved, zero], f"{name}.positive")
            clipped = self.node("Where", [positive, one, self.constant("minus_one", -1.0)], f"{name}.bit")
        return self.node("Mul", [clipped, scale], name)

    def linear(self, layer: BinaryLinear, x: str, name: str) -> str:
        """A binary linear layer."""
        bits = self.binarize(layer.inputs, x, f"{name}.input")
        scale = layer.scale.detach().reshape(1, -1)
        if self.qonnx:
            latent = self.constant(f"{name}.latent", layer.weight.detach().T)
            operands = [latent, self.constant(f"{name}.scale", scale)]
            weight = self.node("BipolarQuant", operands, f"{name}.weight", domain=QONNX)
        else:
            weight = self.constant(f"{name}.weight", torch.where(layer.weight.detach().T >= 0, 1.0, -1.0))
        product = self.node("MatMul", [bits, weight], f"{name}.product")
        if not self.qonnx:
            product = self.node("Mul", [product, self.constant(f"{name}.scale", scale)], f"{name}.scaled")
        return self.node("Add", [product, self.constant(f"{name}.bias", layer.bias)], name)

    def norm(self, norm: nn.LayerNorm, x: str, name: str) -> str:
        """Layer normalization."""
        scale, bias = self.constant(f"{name}.scale", norm.weight), self.constant(f"{name}.bias", norm.bias)
        return self.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=norm.eps)

    def heads(self, x: str, name: str, permutation: list[int]) -> str:
        """[1, tokens, width] with its heads in front."""
        split = self.constant("split", np.array([1, TOKENS, HEADS, WIDTH // HEADS], np.int64))
        return self.node("Transpose", [self.node("Reshape", [x, split], f"{name}.split")], name, perm=permutation)

    def block(self, block: BinaryBlock, x: str, name: str) -> str:
        """An encoder layer."""
        normal = self.norm(block.attention_norm, x, f"{name}.attention_norm")
        parts: dict[str, str] = {}
        for part, binarizer, permutation in (
            ("query", block.queries, [0, 2, 1, 3]),
            ("key", block.keys, [0, 2, 3, 1]),
            ("value", block.values, [0, 2, 1, 3]),
        ):
            projected = self.linear(getattr(block, part), normal, f"{name}.{part}")
            parts[part] = self.heads(
                self.binarize(binarizer, projected, f"{name}.{part}.bits"), f"{name}.{part}.heads", permutation
            )
        scores = self.node("MatMul", [parts["query"], parts["key"]], f"{name}.scores")
        root = self.constant("root", math.sqrt(WIDTH // HEADS))
        softmax = self.node("Softmax", [self.node("Div", [scores, root], f"{name}.scaled")], f"{name}.softmax", axis=-1)
        weights = self.binarize(block.weights, softmax, f"{name}.weights")
        context = self.node("MatMul", [weights, parts["value"]], f"{name}.context")
        tokens = self.node("Transpose", [context], f"{name}.tokens", perm=[0, 2, 1, 3])
        merge = self.constant("merge", np.array([1, TOKENS, WIDTH], np.int64))
        merged = self.node("Reshape", [tokens, merge], f"{name}.merged")
        x = self.node("Add", [x, self.linear(block.out, merged, f"{name}.out")], f"{name}.attended")
        normal = self.norm(block.feed_forward_norm, x, f"{name}.feed_forward_norm")
        hidden = self.node("Relu", [self.linear(block.up, normal, f"{name}.up")], f"{name}.relu")
        return self.node("Add", [x, self.linear(block.down, hidden, f"{name}.down")], name)

    def model(self, student: DigitsTransformer) -> onnx.ModelProto:
        """The whole network: input `image` [1, 1, 8, 8], output `logits` [1, 10]."""
        operands = ["image", self.constant("patches.weight", student.patches.weight)]
        patches = self.node(
            "Conv", [*operands, self.constant("patches.bias", student.patches.bias)], "patches", strides=[PATCH, PATCH]
        )
        flat = self.constant("flat", np.array([1, WIDTH, TOKENS - 1], np.int64))
        flattened = self.node("Reshape", [patches, flat], "flattened")
        tokens = self.node("Transpose", [flattened], "patch_tokens", perm=[0, 2, 1])
        joined = self.node("Concat", [self.constant("class_token", student.class_token), tokens], "joined", axis=1)
        x = self.node("Add", [joined, self.constant("positions", student.positions)], "tokens")
        for index, block in enumerate(student.blocks):
            x = self.block(block, x, f"blocks.{index}")
        first = self.constant("first", np.array(0, np.int64))
        answer = self.node("Gather", [self.norm(student.norm, x, "norm"), first], "class", axis=1)
        classifier = student.classifier
        operands = [answer, self.constant("classifier.weight", classifier.weight.detach().T)]
        product = self.node("MatMul", operands, "classifier.product")
        self.node("Add", [product, self.constant("classifier.bias", classifier.bias)], "logits")
        graph = helper.make_graph(
            self.nodes,
            "digits_bivit",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(QONNX, 1)] if self.qonnx else [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def main() -> None:
    """Train the student, report its accuracy on the held-out images, export it twice."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    held_out = torch.arange(len(labels)) % 5 == 0
    train_images, train_labels = images[~held_out], labels[~held_out]

    teacher = float_model().eval()
    student = float_model()
    student.blocks = nn.Sequential(*(BinaryBlock(block) for block in student.blocks))
    assert len(student.blocks) == LAYERS
    with torch.no_grad():
        student(train_images)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.0)
    steps = EPOCHS * math.ceil(len(train_labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(train_labels)).split(BATCH):
            seen = shifted(train_images[batch])
            with torch.no_grad():
                wanted = (teacher(seen) / 2).softmax(-1)
            logits = student(seen)
            distilled = -(wanted * (logits / 2).log_softmax(-1)).sum(-1).mean()
            loss = cross_entropy(logits, train_labels[batch]) + 2 * distilled
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}", flush=True)

    student.eval()
    with torch.no_grad():
        right = int((student(images[held_out]).argmax(1) == labels[held_out]).sum())
    print(f"{right} of {int(held_out.sum())} held-out images right")
    for spelling, qonnx in (("plain", False), ("qonnx", True)):
        onnx.save(Graph(qonnx).model(student), HERE / f"model_{spelling}.onnx")


if __name__ == "__main__":
    main()
