"""Accuracy of a program over a labelled set: values of every sample, cycles and energy once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from ..isa.errors import InputError, UsageError
from ..isa.formats import Array
from ..isa.frozen import frozen
from ..isa.program import Signature
from .report import Report
from .session import Session

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps the runs, as `tqdm.tqdm` does."""


@frozen
class Evaluation:
    """How often the greatest of an output's last axis is the label: `correct` of `samples`.

    `predictions` holds the answers in the labels' shape, `report` the cycles and energy of one run (which does
    `samples_each` samples).
    """

    samples: int
    correct: int
    labels: int
    samples_each: int
    predictions: Array
    report: Report

    @property
    def accuracy(self) -> float:
        """The share of right labels."""
        return self.correct / self.labels

    def to_dict(self) -> dict[str, Any]:
        """The figures and the report of a run as JSON-ready values."""
        counts = {name: getattr(self, name) for name in ("samples", "labels", "correct", "accuracy", "samples_each")}
        return {**counts, "predictions": self.predictions.tolist(), "run": self.report.to_dict()}


def evaluate(
    session: Session,
    data: Mapping[str, Array],
    *,
    labels: str | None = None,
    output: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run the program on every sample of `data` and compare its answers with the labels.

    data: an array [samples, ...] for each input of the program, and the labels, integers [samples] or [samples,
    positions], under the name `labels` (by default that of the one array that is no input). A sample has the shape of
    an input, or of one index of its first axis. output: the output that answers (the first, by default): the index of
    the greatest value along its last axis.

    Raises InputError and UsageError for data that do not fit the program.
    """
    program = session.program
    wanted = _labels(data, {item.name for item in program.inputs}, labels)
    answer = _output(program.outputs, output)
    samples = len(wanted)
    each, inputs = _samples(program.inputs, data, samples)
    starts: Iterable[int] = range(0, samples, each)
    predictions: list[Array] = []
    for start in progress(starts) if progress is not None else starts:
        chosen = {item.name: _taken(item, array, start, each) for item, array in inputs}
        result = session.run(chosen, "values").outputs[answer.name]
        predictions.append(_answers(result, min(each, samples - start), wanted.shape[1:], answer.name))
    found = np.concatenate(predictions)
    first = {item.name: _taken(item, array, 0, each) for item, array in inputs}
    report = session.run(first, "timing").report
    return Evaluation(samples, int((found == wanted).sum()), wanted.size, each, found, report)


def _labels(data: Mapping[str, Array], inputs: set[str], name: str | None) -> Array:
    rest = [key for key in data if key not in inputs]
    if name is None:
        if len(rest) != 1:
            told = ", ".join(map(repr, rest)) or "none"
            raise UsageError(
                f"which array holds the labels is not clear: besides inputs there is {told}", "name it (--labels)"
            )
        name = rest[0]
    elif name not in data:
        raise UsageError(f"the data hold no array {name!r}", f"they hold {', '.join(data)}")
    wanted = np.asarray(data[name])
    if wanted.dtype.kind not in "iu" or wanted.ndim == 0 or wanted.size == 0:
        raise InputError(
            f"labels {name!r}", f"are {wanted.dtype} of shape {wanted.shape}", "give integers, one a sample"
        )
    return wanted


def _output(outputs: tuple[Signature, ...], name: str | None) -> Signature:
    for item in outputs:
        if name is None or item.name == name:
            return item
    raise UsageError(f"the program has no output {name!r}", f"it has {', '.join(item.name for item in outputs)}")


def _samples(
    signatures: tuple[Signature, ...], data: Mapping[str, Array], samples: int
) -> tuple[int, list[tuple[Signature, Array]]]:
    """How many samples a run takes, and the array of each input, [samples, ...]."""
    counts: set[int] = set()
    found: list[tuple[Signature, Array]] = []
    for item in signatures:
        if item.name not in data:
            raise InputError("data", f"{item.name!r} missing", "give an array of samples for every input")
        array = np.asarray(data[item.name])
        subject, shape = f"input {item.name!r}", "x".join(map(str, array.shape))
        if array.ndim == 0 or len(array) != samples:
            raise InputError(subject, f"has shape {shape}, the labels are of {samples} samples")
        size = prod(array.shape[1:])
        if array.shape[1:] not in (item.shape, item.shape[1:]) or not size:
            wanted = "x".join(map(str, item.shape))
            raise InputError(subject, f"has shape {shape}, a sample of the program's {wanted} does not fit")
        counts.add(prod(item.shape) // size)
        found.append((item, array))
    if len(counts) != 1:
        raise InputError("data", "the inputs take different numbers of samples in a run")
    return counts.pop(), found


def _taken(item: Signature, array: Array, start: int, each: int) -> Array:
    """The samples of a run; the last one repeats where too few are left."""
    places = np.minimum(np.arange(start, start + each), len(array) - 1)
    return array[places].reshape(item.shape)


def _answers(result: Array, samples: int, shape: tuple[int, ...], name: str) -> Array:
    """The greatest along the last axis, for each label of `samples` samples."""
    found = np.asarray(result, np.float32).argmax(-1).reshape(-1) if result.ndim else np.zeros(0, np.int64)
    wanted = samples * prod(shape)
    if found.size < wanted or found.size % prod(shape):
        raise InputError(f"output {name!r}", f"gives {found.size} answers a run, the labels want {wanted}")
    return found[:wanted].reshape(samples, *shape)
