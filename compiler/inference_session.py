"""`attnc.InferenceSession`: a model on the simulator under the names that ONNX Runtime's session has.

```python
session = attnc.InferenceSession("model.onnx")          # in place of onnxruntime.InferenceSession("model.onnx")
outputs = session.run(None, {"input_ids": ids})
session.report.performance.cycles                       # and what the run took on the accelerator
```
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ..isa.container import is_container
from ..isa.errors import InputError, UsageError
from ..isa.formats import Array
from ..isa.frozen import frozen
from ..isa.program import Program
from ..runtime.report import Report
from ..runtime.session import Result, Session, load

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_MAGIC_BYTES = 64


@frozen
class NodeArg:
    """An input or output: `type` as ONNX Runtime writes it ("tensor(float)"); an extent of `shape` that is open is its
    name, or None."""

    name: str
    type: str
    shape: list[int | str | None]


class _Runner(Protocol):
    """What runs: a program, or a model that becomes one for each shape of its inputs."""

    inputs: tuple[NodeArg, ...]
    outputs: tuple[NodeArg, ...]

    def run(self, given: Mapping[str, Array]) -> Result: ...


class _ProgramRunner:
    def __init__(self, session: Session) -> None:
        self.session = session
        program = session.program
        self.inputs = tuple(_of_program(item.name, item.element_type, item.shape) for item in program.inputs)
        self.outputs = tuple(_of_program(item.name, item.element_type, item.shape) for item in program.outputs)

    def run(self, given: Mapping[str, Array]) -> Result:
        return self.session.run(given)


class _ModelRunner:
    def __init__(self, source: str | os.PathLike[str] | bytes | ModelProto, options: Mapping[str, Any]) -> None:
        from .on_demand import OnDemand

        self.model = OnDemand(source, options)
        self.inputs = tuple(map(_of_model, self.model.inputs))
        self.outputs = tuple(map(_of_model, self.model.outputs))

    def run(self, given: Mapping[str, Array]) -> Result:
        compiled = self.model.compiled(given)
        return compiled.session.run({name: given[name] for name in compiled.shapes})


class InferenceSession:
    """A model or a program, ready to run.

    source: an ONNX file, a program file, the bytes of either, or a ModelProto. `options` are keyword arguments of
    `attnc.compile` (`machine`, `precision`, `recipe`) and go with a model only. A model is compiled at its first run,
    when the shapes of its inputs are known, and again for other shapes. `sess_options`, `providers` and
    `provider_options` stand where ONNX Runtime has them, so that a script need not be changed; they choose nothing,
    since everything runs on the simulator.

    Raises InputError or ProgramFileError for a file that is neither, UsageError for options with a program.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | ModelProto,
        sess_options: object = None,
        providers: object = None,
        provider_options: object = None,
        **options: Any,
    ) -> None:
        del sess_options, providers, provider_options
        self._result: Result | None = None
        self._runner: _Runner
        if not is_container(_begin(source)):
            self._runner = _ModelRunner(source, options)
            return
        if options:
            raise UsageError(f"{next(iter(options))} was settled when the program was compiled", "give the model")
        assert isinstance(source, str | os.PathLike | bytes)
        session = Session(Program.from_bytes(source)) if isinstance(source, bytes) else load(Path(source))
        self._runner = _ProgramRunner(session)

    def get_inputs(self) -> list[NodeArg]:
        """The inputs in the model's order."""
        return list(self._runner.inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The outputs in the model's order."""
        return list(self._runner.outputs)

    def get_providers(self) -> list[str]:
        """What runs the model."""
        return ["attnc"]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: object = None
    ) -> list[Array]:
        """The outputs of these names (None or empty: all, in the model's order) for an array of every input, by name.

        `run_options` chooses nothing. Raises what `attnc.compile` and `Session.run` raise, InputError for inputs that
        are missing or unknown, UsageError for an output that is not there.
        """
        del run_options
        known = [item.name for item in self._runner.outputs]
        wanted = list(output_names or known)
        for name in wanted:
            if name not in known:
                raise UsageError(f"there is no output {name!r}", f"there are {', '.join(known)}")
        result = self._runner.run(self._fed(input_feed))
        self._result = result
        return [result.outputs[name] for name in wanted]

    @property
    def report(self) -> Report:
        """What the last run took: cycles, energy, where the time went. UsageError before the first run."""
        if self._result is None:
            raise UsageError("nothing has run yet, so there is no report", "call run first")
        return self._result.report

    def _fed(self, feed: Mapping[str, Any]) -> dict[str, Array]:
        names = [item.name for item in self._runner.inputs]
        told = ", ".join(map(repr, names)) or "none"
        for reason, odd in (
            ("missing", [name for name in names if name not in feed]),
            ("unknown", [name for name in feed if name not in names]),
        ):
            if odd:
                raise InputError("inputs", f"{', '.join(map(repr, odd))} {reason}", f"the model takes {told}")
        return {name: np.asarray(feed[name]) for name in names}


def _begin(source: object) -> bytes:
    """The first bytes of a file or of bytes; nothing where there are none, which the importer then says."""
    if isinstance(source, bytes):
        return source[:_MAGIC_BYTES]
    if not isinstance(source, str | os.PathLike):
        return b""
    try:
        with Path(cast("str | os.PathLike[str]", source)).open("rb") as file:
            return file.read(_MAGIC_BYTES)
    except OSError:
        return b""


def _of_program(name: str, element_type: str, shape: Sequence[int]) -> NodeArg:
    return NodeArg(name, f"tensor({element_type})", list(shape))


def _of_model(value: ValueInfoProto) -> NodeArg:
    from ..dialects.onnx_types import element_of_code, name_of
    from .importer.prototypes import code_of
    from .importer.shapes import dimensions

    element = name_of(element_of_code(code_of(value.type))).lower()
    return NodeArg(value.name, f"tensor({element})", list(dimensions(value.type) or ()))
