"""A space of designs: the tables of a machine and of a recipe, some of whose values are left open.

[machine]                                       # what differs from the machine that it extends (edge unless said)
extends = "edge"
sram.bytes = { choice = [65536, 131072] }
matrix.rows = { int = [16, 32], step = 16, name = "array" }
matrix.columns = { same = "array" }
matrix.a_port_bytes_per_cycle = { same = "array", times = 2 }

[recipe]
precision = { choice = ["bf16", "int8"] }
schedule = { choice = { plain = { prefetch = false }, full = {} } }

Which keys and values there are is known by those who read machines and recipes alone; here stands only what is open.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, cast

from ...isa.errors import AttncError, InputError, UsageError
from ...isa.frozen import frozen
from ...isa.machine import DEFAULT_MACHINE, Machine, machine_from_dict, machine_tables, merge_tables
from ..recipe import Recipe
from .parameters import Parameter, Same, Scalar, declaration

Assignment = Mapping[str, Scalar]
"""A value for every parameter of a space, by name: of a choice among tables, the name of the one chosen."""

ATTEMPTS = 200
"""So many designs are drawn to find one that a value fits into, before the value counts as wrong."""


@frozen
class Space:
    """What is fixed and what is open. base: the tables of the machine that `machine` changes. subject: for errors."""

    subject: str
    base: Mapping[str, Any]
    machine: Mapping[str, Any]
    recipe: Mapping[str, Any]
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])

    @staticmethod
    def read(path: Path) -> Space:
        """The space of a TOML file. Raises InputError and MachineError for one that cannot be read, says something
        unknown, or has a value that no design can take."""
        try:
            with path.open("rb") as file:
                tables = tomllib.load(file)
        except OSError as error:
            raise InputError(str(path), f"cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(str(path), f"is not valid TOML: {error}") from None
        machine: object = tables.get("machine")
        changes = cast(dict[str, object], machine) if isinstance(machine, dict) else {}
        extends = changes.pop("extends", DEFAULT_MACHINE)
        if not isinstance(extends, str):
            raise InputError(str(path), f"machine.extends: a machine's name or file is needed, not {extends!r}")
        beside = path.parent / extends
        tables["base"] = machine_tables(beside if beside.is_file() else extends)
        space = Space.of(tables, str(path))
        space.check()
        return space

    @staticmethod
    def of(tables: Mapping[str, Any], subject: str) -> Space:
        """The space that tables describe: `base`, `machine` and `recipe`, as `to_dict` gives them."""
        unknown = sorted(set(tables) - {"base", "machine", "recipe"})
        if unknown:
            raise InputError(subject, f"has no place for {unknown[0]!r}", "a space has [machine] and [recipe]")
        for name in ("machine", "recipe"):
            if not isinstance(tables.get(name, {}), dict):
                raise InputError(subject, f"`{name}` must be a table, written [{name}]")
        machine, recipe = tables.get("machine", {}), tables.get("recipe", {})
        space = Space(subject, tables["base"], machine, recipe, _parameters(machine, recipe, subject))
        if not space.parameters:
            raise InputError(
                subject, "leaves nothing open", "declare a value as { choice = [...] }, { int = [low, high] } or float"
            )
        return space

    def to_dict(self) -> dict[str, Any]:
        """The tables that `of` reads."""
        return {"base": dict(self.base), "machine": dict(self.machine), "recipe": dict(self.recipe)}

    @property
    def first(self) -> dict[str, Scalar]:
        """The assignment of every parameter's first value."""
        return {name: parameter.values[0] for name, parameter in self.parameters.items()}

    def machine_of(self, assignment: Assignment) -> Machine:
        """The machine of an assignment. Raises MachineError where its values do not go together."""
        changes = cast(dict[str, Any], _filled(self.machine, "machine", assignment, self.parameters))
        base = dict(self.base)
        told = {"name": f"{base['name']}-explored", "description": f"{base['name']} with values that a search chose"}
        return machine_from_dict(merge_tables(base, {**told, **changes}), self.subject)

    def recipe_of(self, assignment: Assignment) -> Recipe:
        """The recipe of an assignment. Raises UsageError where its values do not go together."""
        return Recipe.of(cast(dict[str, Any], _filled(self.recipe, "recipe", assignment, self.parameters)))

    def check(self) -> None:
        """Check that every value that is listed, and both ends of every range, fit into some design.

        Raises InputError with the parameter, its value, and what those who read machines and recipes say of it.
        """
        for attempt in (self.machine_of, self.recipe_of):
            for parameter in self.parameters.values():
                for value in parameter.values:
                    self._check(parameter, value, attempt)

    def _check(self, parameter: Parameter, value: Scalar, attempt: Callable[[Assignment], object]) -> None:
        draw = random.Random(0)
        said: AttncError | None = None
        for number in range(ATTEMPTS):
            others = self.first if number == 0 else {key: item.draw(draw) for key, item in self.parameters.items()}
            try:
                attempt({**others, parameter.name: value})
            except AttncError as error:
                said = said or error
            else:
                return
        raise InputError(self.subject, f"no design has {parameter.name} = {value!r}: {said}")


def _parameters(machine: object, recipe: object, subject: str) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    links: list[tuple[str, Same]] = []
    try:
        for path, item in (*_declared(machine, "machine"), *_declared(recipe, "recipe")):
            if isinstance(item, Same):
                links.append((path, item))
            elif found.setdefault(item.name, item) is not item:
                raise UsageError(f"two parameters are called {item.name!r}", "give one of them another `name`")
        for path, link in links:
            link.check(path, found)
    except UsageError as error:
        raise InputError(subject, str(error)) from None
    return found


def _declared(value: object, path: str) -> Iterator[tuple[str, Parameter | Same]]:
    """Everything that is left open in a value, also within what a choice offers."""
    found = declaration(value, path)
    if found is not None:
        yield path, found
        if isinstance(found, Parameter):
            for label, option in found.options.items():
                yield from _declared(option, f"{path}.{label}")
    elif isinstance(value, dict):
        for key, item in cast(dict[str, object], value).items():
            yield from _declared(item, f"{path}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(cast(list[object], value)):
            yield from _declared(item, f"{path}[{place}]")


def _filled(value: object, path: str, assignment: Assignment, parameters: Mapping[str, Parameter]) -> object:
    """The value with everything open filled in."""
    found = declaration(value, path)
    if isinstance(found, Same):
        return found.of(assignment)
    if found is not None:
        chosen = assignment[found.name]
        if not found.options:
            return chosen
        label = str(chosen)
        return _filled(found.options[label], f"{path}.{label}", assignment, parameters)
    if isinstance(value, dict):
        table = cast(dict[str, object], value)
        return {key: _filled(item, f"{path}.{key}", assignment, parameters) for key, item in table.items()}
    if isinstance(value, list):
        items = cast(list[object], value)
        return [_filled(item, f"{path}[{place}]", assignment, parameters) for place, item in enumerate(items)]
    return value
