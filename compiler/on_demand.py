"""A model that is compiled when it is run: for the shapes, and the values that make shapes, of the inputs given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ValueInfoProto

from ..dialects.constants import Array
from ..isa.frozen import frozen
from ..passes.graph.lower.lower_onnx import inputs_to_know
from ..runtime.session import Session
from .compile import compile
from .importer import import_model
from .importer.load import Source, load_model
from .registry import new_context

_ROUNDS = 8
"""Binding inputs makes more of a model known, which can show more that must be known; so often at most."""

KEPT = 4
"""Programs that a model keeps, those of the last runs."""


@frozen
class Compiled:
    """A session, and the shapes and bound inputs that it was compiled for."""

    session: Session
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Array]

    def serves(self, given: Mapping[str, Array]) -> bool:
        """Whether inputs are what the program was compiled for."""
        return all(np.shape(given[name]) == shape for name, shape in self.shapes.items()) and all(
            given[name].dtype == array.dtype and np.array_equal(given[name], array)
            for name, array in self.constants.items()
        )


class OnDemand:
    """A model and the programs that its last runs needed; `options` are keyword arguments of `attnc.compile`.

    Raises InputError for a model that is not valid.
    """

    def __init__(self, source: Source, options: Mapping[str, Any]) -> None:
        self._source = Path(source) if isinstance(source, os.PathLike) else source
        self._options = options
        self._graph = load_model(source).proto.graph
        self._kept: list[Compiled] = []

    @cached_property
    def inputs(self) -> tuple[ValueInfoProto, ...]:
        """The inputs that a run gives: those without a value in the model."""
        held = {tensor.name for tensor in self._graph.initializer}
        held |= {tensor.values.name for tensor in self._graph.sparse_initializer}
        return tuple(value for value in self._graph.input if value.name not in held)

    @property
    def outputs(self) -> tuple[ValueInfoProto, ...]:
        """The outputs, in the model's order."""
        return tuple(self._graph.output)

    @property
    def last(self) -> Compiled | None:
        """The program of the last run, None before the first one."""
        return self._kept[0] if self._kept else None

    def compiled(self, given: Mapping[str, Array]) -> Compiled:
        """The program for an array of every input. Raises what `attnc.compile` raises."""
        found = next((item for item in self._kept if item.serves(given)), None) or self._compile(given)
        self._kept = [found, *(item for item in self._kept if item is not found)][:KEPT]
        return found

    def _compile(self, given: Mapping[str, Array]) -> Compiled:
        constants: dict[str, Array] = {}
        for _ in range(_ROUNDS):
            shapes = {name: array.shape for name, array in given.items() if name not in constants}
            wanted = [name for name in self._wanted(shapes, constants) if name not in constants]
            if not wanted:
                break
            constants |= {name: given[name] for name in wanted}
        shapes = {name: array.shape for name, array in given.items() if name not in constants}
        made = compile(self._source, shapes=shapes, constants=constants, **self._options)
        assert made.program is not None, "nothing stops this compilation"
        return Compiled(Session(made.program), shapes, constants)

    def _wanted(self, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Array]) -> tuple[str, ...]:
        context = new_context()
        return inputs_to_know(import_model(self._source, shapes, constants, context), context.store)
