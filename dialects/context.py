"""The context that passes of the compiler share: dialects, constants, machine and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdsl.context import Context

from .constants import ConstantStore

if TYPE_CHECKING:
    from ..isa.machine import Machine


@dataclass
class CompilerContext(Context):
    """An xDSL context that also carries what compilation needs besides the module itself.

    `store` holds the constants that the module names, `machine` the target (None where no pass asks for it)
    and `recipe` the parsed co-design recipe, as the recipe's own tables.
    """

    store: ConstantStore = field(default_factory=ConstantStore)
    machine: Machine | None = None
    recipe: Mapping[str, object] = field(default_factory=dict[str, object])

    @staticmethod
    def of(context: Context) -> CompilerContext:
        """The context as a compiler's. Raises TypeError when a pass is run under a plain xDSL context."""
        if not isinstance(context, CompilerContext):
            raise TypeError("passes of attnc need a CompilerContext: run them with attnc-opt")
        return context

    def clone(self) -> CompilerContext:
        """A copy whose dialects can grow apart; the store, machine and recipe are shared."""
        return CompilerContext(
            self.allow_unregistered,
            self._loaded_dialects.copy(),
            self._loaded_ops.copy(),
            self._loaded_attrs.copy(),
            self._loaded_types.copy(),
            self._registered_dialects.copy(),
            store=self.store,
            machine=self.machine,
            recipe=self.recipe,
        )

    @property
    def target(self) -> Machine:
        """The machine. Raises TypeError when none was given."""
        if self.machine is None:
            raise TypeError("this pass needs a machine")
        return self.machine
