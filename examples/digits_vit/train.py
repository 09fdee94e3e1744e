"""Train the digits vision Transformer and export it: writes model.onnx, images.npz and first_image.npz here.

The data are scikit-learn's 1,797 handwritten digits (8 x 8 pixels): every fifth image is held out. Needs the
``examples`` extra (PyTorch and scikit-learn); takes about three minutes on one core.

    pip install '.[examples]' onnxscript
    python examples/digits_vit/train.py
"""

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

HERE = Path(__file__).parent
WIDTH, HEADS, LAYERS, PATCH = 64, 4, 4, 2
EPOCHS, BATCH = 150, 64


class Block(nn.Module):
    """One pre-norm encoder layer: attention, then a ReLU feed-forward pair four times as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.feed_forward_norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def heads(self, x: Tensor) -> Tensor:
        """Split [images, tokens, width] into [images, heads, tokens, width of a head]."""
        return x.reshape(x.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.attention_norm(x)
        query, key, value = (self.heads(part(normal)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        context = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
        x = x + self.out(context)
        return x + self.down(self.up(self.feed_forward_norm(x)).relu())


class DigitsTransformer(nn.Module):
    """Patches of 2 x 2 pixels, a class token, four blocks, a classifier on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 1 + (8 // PATCH) ** 2, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(image.shape[0], -1, -1), tokens], 1) + self.positions
        return self.classifier(self.norm(self.blocks(tokens))[:, 0])


def shifted(images: Tensor) -> Tensor:
    """Move each image by up to one pixel each way, by fractions too: the only augmentation."""
    move = torch.eye(2, 3).repeat(len(images), 1, 1)
    move[:, :, 2] = (torch.rand(len(images), 2) * 2 - 1) * (2 / 8)
    move[:, :, :2] += torch.randn(len(images), 2, 2) * 0.08
    grid = nn.functional.affine_grid(move, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def without_debug_records(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the stack traces that the exporter attaches to every node: they name files of this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model


def main() -> None:
    """Train, report the accuracy on the held-out images, export."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    held_out = torch.arange(len(labels)) % 5 == 0
    train_images, train_labels = images[~held_out], labels[~held_out]

    model = DigitsTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * math.ceil(len(train_labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(train_labels)).split(BATCH):
            loss = loss_of(model(shifted(train_images[batch])), train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}")

    model.eval()
    with torch.no_grad():
        answers = model(images[held_out]).argmax(1)
    right = int((answers == labels[held_out]).sum())
    print(f"{right} of {int(held_out.sum())} held-out images right")

    exported = torch.onnx.export(
        model, (images[:1],), input_names=["image"], output_names=["logits"], opset_version=20, dynamo=True
    )
    assert exported is not None
    onnx.save(without_debug_records(exported.model_proto), HERE / "model.onnx")
    test_images = images[held_out].numpy()
    np.savez_compressed(HERE / "images.npz", image=test_images, labels=labels[held_out].numpy())
    np.savez(HERE / "first_image.npz", image=test_images[:1])


if __name__ == "__main__":
    main()
