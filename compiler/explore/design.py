"""One design of a space: the model compiled for its machine by its recipe, timed, and its answers compared with labels.

`assess` is a function of plain values alone, so that it may run in any process on any host.
"""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...isa.errors import AttncError
from ...isa.frozen import frozen
from .objectives import FIGURES

if TYPE_CHECKING:
    from ...isa.formats import Array
    from ...runtime.session import Session
    from ..compilation import Compilation


@frozen
class Work:
    """What every design of a study has in common: files by their paths, shapes, and how answers are compared."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    calibrate: str | None = None
    data: str | None = None
    labels: str | None = None
    output: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {**asdict(self), "shapes": {name: list(shape) for name, shape in self.shapes.items()}}

    @staticmethod
    def of(data: Mapping[str, Any]) -> Work:
        """What `to_dict` gave."""
        shapes: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in data["shapes"].items()}
        return replace(Work(**data), shapes=shapes)


@frozen
class Design:
    """A model file for a machine by a recipe, both as plain tables."""

    model: str
    machine: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """The same for designs that are the same."""
        return _digest(json.dumps([self.model, self.machine, self.recipe], sort_keys=True))


@frozen
class Outcome:
    """What became of a design.

    figures: by name, empty where there is none. refusal: why it cannot be compiled or run. failure: the traceback where
    attnc itself failed. numbers: the same for designs whose values are computed in the same formats from the same
    constants. own: whether accuracy was found with this very program. seconds: of this host's processor.
    """

    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    refusal: str = ""
    failure: str = ""
    numbers: str = ""
    own: bool = True
    seconds: float = 0.0


def assess(work: Work, design: Design, known: Mapping[str, float], accuracy: bool) -> Outcome:
    """Compile and run a design.

    known: accuracies by `Outcome.numbers`; what stands there is not computed again. accuracy: whether it is wanted.
    """
    begin = time.thread_time()
    try:
        outcome = _assess(work, design, known, accuracy)
    except AttncError as error:
        outcome = Outcome(refusal=str(error))
    except Exception:
        # One design on which attnc fails must not end a search of hours; its traceback is in the study.
        outcome = Outcome(failure=traceback.format_exc())
    return replace(outcome, seconds=time.thread_time() - begin)


def _assess(work: Work, design: Design, known: Mapping[str, float], accuracy: bool) -> Outcome:
    from ...isa.machine import machine_from_dict
    from ...runtime.session import Session
    from ..compile import compile
    from ..phases import EMIT
    from ..recipe import Recipe

    recipe = Recipe.of(design.recipe)
    compilation = compile(
        design.model,
        machine=machine_from_dict(design.machine),
        shapes=work.shapes,
        calibrate=work.calibrate if recipe.takes_calibration else None,
        recipe=recipe,
        stop_after="attention",
    )
    numbers = _numbers(compilation)
    compilation.continue_to(EMIT)
    assert compilation.program is not None
    session = Session(compilation.program)
    report = session.run(session.random_inputs(0), "timing").report
    figures = {
        name: figure.measure(compilation.program, session.machine, report)
        for name, figure in FIGURES.items()
        if figure.measure is not None
    }
    if not accuracy or work.data is None:
        return Outcome(figures, numbers=numbers)
    own = numbers not in known
    figures["accuracy"] = _accuracy(work, session) if own else known[numbers]
    return Outcome(figures, numbers=numbers, own=own)


def _accuracy(work: Work, session: Session) -> float:
    """The share of right labels, in percent."""
    from ...runtime.evaluate import evaluate

    assert work.data is not None
    return 100 * evaluate(session, _arrays(work.data), labels=work.labels, output=work.output).accuracy


@lru_cache(maxsize=1)
def _arrays(path: str) -> Mapping[str, Array]:
    from ...runtime.arrays import read_arrays

    return read_arrays(Path(path))


def _numbers(compilation: Compilation) -> str:
    """What tells whether two designs compute with the same numbers: the module whose formats and forms are decided and
    whose order of work is not, its constants by the names that say how they come from the model's."""
    from io import StringIO

    from xdsl.printer import Printer

    stream = StringIO()
    Printer(stream).print_op(compilation.module)
    return _digest(stream.getvalue())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
