"""What a study is about: models, space, objectives and limits. A study that goes on must still be about the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...isa.errors import InputError, UsageError
from ...isa.frozen import frozen
from .design import Design, Work
from .objectives import Figure, Limit, figure_of
from .parameters import Parameter, Scalar
from .space import Assignment, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MODEL = "model"
"""The parameter that chooses among several models."""


@frozen
class Setup:
    """See the module. models: files by the labels that assignments use."""

    models: Mapping[str, str]
    space: Space
    work: Work
    objectives: tuple[Figure, ...]
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if MODEL in self.space.parameters:
            raise InputError(self.space.subject, f"a parameter cannot be called {MODEL!r}", "give it another `name`")
        if self.wants_accuracy and self.work.data is None:
            raise UsageError("accuracy needs labelled samples", "give --data")

    @property
    def wants_accuracy(self) -> bool:
        """Whether any sample has to be run."""
        judged = (*self.objectives, *(limit.figure for limit in self.limits))
        return any(figure.measure is None for figure in judged)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Those of the space, after the choice of the model where there is one."""
        if len(self.models) == 1:
            return dict(self.space.parameters)
        return {MODEL: Parameter(MODEL, "choice", tuple(self.models)), **self.space.parameters}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The parameters as Optuna draws them."""
        return {name: parameter.distribution() for name, parameter in self.parameters.items()}

    @property
    def first(self) -> dict[str, Scalar]:
        """The assignment of every parameter's first value."""
        return {name: parameter.values[0] for name, parameter in self.parameters.items()}

    def design(self, assignment: Assignment) -> Design:
        """The design of an assignment. Raises MachineError and UsageError where its values do not go together."""
        model = self.models[str(assignment.get(MODEL, next(iter(self.models))))]
        machine, recipe = self.space.machine_of(assignment), self.space.recipe_of(assignment)
        return Design(model, machine.to_dict(), recipe.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values, with a digest of every file."""
        files = [*self.models.values(), *(path for path in (self.work.data, self.work.calibrate) if path is not None)]
        return {
            "models": dict(self.models),
            "space": self.space.to_dict(),
            "work": self.work.to_dict(),
            "objectives": [figure.name for figure in self.objectives],
            "limits": [[limit.figure.name, limit.bound, limit.at_least] for limit in self.limits],
            "digests": {path: digest_of(Path(path)) for path in files},
        }

    @staticmethod
    def of(data: Mapping[str, Any], subject: str) -> Setup:
        """What `to_dict` gave."""
        return Setup(
            data["models"],
            Space.of(data["space"], subject),
            Work.of(data["work"]),
            tuple(map(figure_of, data["objectives"])),
            tuple(Limit(figure_of(name), bound, at_least) for name, bound, at_least in data["limits"]),
        )


def digest_of(path: Path) -> str:
    """The digest of a file's bytes. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None


def labelled(models: Sequence[Path]) -> dict[str, str]:
    """Model files by label: folder and name. Raises UsageError for none, or two of one label."""
    labels = {f"{path.resolve().parent.name}/{path.stem}": str(path.resolve()) for path in models}
    if not models or len(labels) < len(models):
        raise UsageError("models are told apart by their names and folders", "give one or more, each once")
    return labels
