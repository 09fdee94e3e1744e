"""A page from a template: styles, scripts and data go into the one file, so that it needs no network."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """The page that `template` makes of `values`; what is not marked as HTML is escaped."""
    return _environment().get_template(template).render(static=_static, plotly=_plotly, **values)


def packed(value: Any) -> str:
    """Plain values as gzipped JSON in base64, for data that would make a page large; equal values give equal text."""
    content = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("attnc.runtime.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Data keep their order.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment


def _static(name: str) -> Markup:
    """A file of the folder `static`, as it is."""
    return Markup((files("attnc.runtime.pages") / "static" / name).read_text(encoding="utf-8"))


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())
