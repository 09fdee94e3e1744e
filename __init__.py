"""attnc: compile ONNX Transformers for an edge accelerator and run the binary on its simulator.

The functions here are the commands of the same name; each is imported when it is first used, so that
``import attnc`` costs nothing and the simulator alone never loads the compiler.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from . import backend
    from .compiler.checking import check
    from .compiler.comparison import compare
    from .compiler.compile import compile
    from .compiler.explore.exploration import explore
    from .compiler.inference_session import InferenceSession
    from .runtime.evaluate import evaluate
    from .runtime.session import Session, load

__all__ = [
    "InferenceSession",
    "Session",
    "__version__",
    "backend",
    "check",
    "compare",
    "compile",
    "evaluate",
    "explore",
    "load",
]

_HOMES = {
    "check": "compiler.checking",
    "compare": "compiler.comparison",
    "compile": "compiler.compile",
    "evaluate": "runtime.evaluate",
    "explore": "compiler.explore.exploration",
    "InferenceSession": "compiler.inference_session",
    "Session": "runtime.session",
    "load": "runtime.session",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("attnc")
    if name == "backend":
        return import_module(".backend", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
