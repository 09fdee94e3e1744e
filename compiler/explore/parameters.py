"""What a space file leaves open: a parameter with its values, or the value of another parameter once more."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, cast

from ...isa.errors import UsageError
from ...isa.frozen import frozen

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scalar = bool | int | float | str

KINDS = ("choice", "int", "float", "same")
"""The keys that make a table a declaration."""


@frozen
class Parameter:
    """One thing to choose.

    values: those of a choice, of which `options` holds the tables or arrays by name where it is among such; of a range,
    both ends. step: between the values of a range, 0 where any will do. log: each factor counts alike.
    """

    name: str
    kind: str
    values: tuple[Scalar, ...]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    step: float = 0
    log: bool = False

    def distribution(self) -> BaseDistribution:
        """The parameter as Optuna draws it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        low, high = cast(tuple[float, float], self.values)
        if self.kind == "int":
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step) or 1)
        return FloatDistribution(low, high, log=self.log, step=self.step or None)

    def draw(self, source: random.Random) -> Scalar:
        """Any of its values."""
        if self.kind == "choice":
            return source.choice(self.values)
        low, high = cast(tuple[float, float], self.values)
        if self.kind == "int":
            return source.randrange(int(low), int(high) + 1, int(self.step) or 1)
        return source.uniform(low, high)


@frozen
class Same:
    """The value of the parameter `name`, `times` as much where it is a number."""

    name: str
    times: float = 1

    def check(self, path: str, parameters: Mapping[str, Parameter]) -> None:
        """Raises UsageError where there is no such parameter, or its values cannot be multiplied."""
        if self.name not in parameters:
            raise UsageError(f"{path}: no parameter is called {self.name!r}", f"there are {', '.join(parameters)}")
        values = parameters[self.name].values
        if self.times != 1 and any(isinstance(value, bool | str) for value in values):
            raise UsageError(f"{path}: {self.name!r} is no number that could be taken {self.times:g} times")

    def of(self, assignment: Mapping[str, Scalar]) -> Scalar:
        """The value in an assignment."""
        value = assignment[self.name]
        if self.times == 1 or isinstance(value, str):
            return value
        product = value * self.times
        return int(product) if isinstance(value, int) and product == int(product) else product


def declaration(value: object, path: str) -> Parameter | Same | None:
    """What a value declares to be open, None where it is a value like any other. Raises UsageError."""
    if not isinstance(value, dict):
        return None
    table = cast(dict[str, Any], value)
    kinds = [kind for kind in KINDS if kind in table]
    if not kinds:
        return None
    kind = kinds[0]
    known = {"choice": ("name",), "int": ("name", "step", "log"), "float": ("name", "step", "log"), "same": ("times",)}
    unknown = sorted(set(table) - {kind, *known[kind]})
    if unknown:
        raise UsageError(f"{path}: `{kind}` does not go with {unknown[0]!r}", f"it takes {', '.join(known[kind])}")
    if kind == "same":
        return _same(table, path)
    name = table.get("name", path)
    if not isinstance(name, str) or not name:
        raise UsageError(f"{path}: `name` is text, not {name!r}")
    return _choice(name, table["choice"], path) if kind == "choice" else _range(name, kind, table, path)


def _same(table: Mapping[str, Any], path: str) -> Same:
    name, times = table["same"], table.get("times", 1)
    if not isinstance(name, str):
        raise UsageError(f"{path}: `same` names a parameter, it cannot be {name!r}")
    if isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times < math.inf:
        raise UsageError(f"{path}: `times` is a number above 0, not {times!r}")
    return Same(name, times)


def _choice(name: str, offered: object, path: str) -> Parameter:
    if isinstance(offered, dict) and offered:
        options = cast(dict[str, Any], offered)
        return Parameter(name, "choice", tuple(options), options)
    if not isinstance(offered, list) or not offered:
        raise UsageError(f"{path}: `choice` is an array of values, or a table of named ones, not {offered!r}")
    values = cast(list[object], offered)
    wrong = [value for value in values if not isinstance(value, bool | int | float | str)]
    if wrong:
        raise UsageError(
            f"{path}: `choice` has {wrong[0]!r}, a table or an array, in an array",
            "give such options names: choice = { NAME = ..., OTHER = ... }",
        )
    if len({(type(value), value) for value in values}) < len(values):
        raise UsageError(f"{path}: `choice` has a value twice")
    return Parameter(name, "choice", tuple(cast(list[Scalar], values)))


def _range(name: str, kind: str, table: Mapping[str, Any], path: str) -> Parameter:
    wanted = int if kind == "int" else int | float
    ends, step, log = table[kind], table.get("step", 0), table.get("log", False)
    numbers: list[Any] = [*ends, step] if isinstance(ends, list) else [None]
    if len(numbers) != 3 or any(isinstance(number, bool) or not isinstance(number, wanted) for number in numbers):
        raise UsageError(f"{path}: `{kind}` is [low, high] with `step` like them, not {ends!r}")
    low, high, _ = numbers
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"{path}: {low} to {high} is no range", "the low end comes first and is the smaller one")
    if not isinstance(log, bool):
        raise UsageError(f"{path}: `log` is true or false, not {log!r}")
    if step < 0 or (log and (step or low <= 0)):
        raise UsageError(f"{path}: `step` is above 0, and `log` has no step and starts above 0")
    if step and not math.isclose((high - low) / step, round((high - low) / step)):
        raise UsageError(f"{path}: steps of {step} from {low} do not lead to {high}")
    return Parameter(name, kind, (low, high), step=step, log=log)
