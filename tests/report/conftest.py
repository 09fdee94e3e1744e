"""A browser without a window, and a page of the digits Transformer with the phases of its IR."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.command_line.main import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_vit"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Opened:
    """A page in the browser, and what it complained of or asked the network for."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled digits Transformer, its phases, and the page of a run of it."""
    folder = tmp_path_factory.mktemp("digits")
    program, page, phases = (str(folder / name) for name in ("digits.attn", "run.html", "phases"))
    assert main(["compile", str(EXAMPLE / "model.onnx"), "-o", program, "--dump-ir", phases, "--quiet"]) == 0
    words = ["run", program, "--input", str(EXAMPLE / "first_image.npz"), "--report", page, "--ir", phases]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium without a window. Pages are tested only where playwright and a Chromium are installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser on the path: one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def visit(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a page from disk and waits until it is drawn; `dark` and `phone` say for which reader."""
    contexts: list[Any] = []

    def opened(path: Path, *, dark: bool = False, phone: bool = False) -> Opened:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
        context = browser.new_context(color_scheme="dark" if dark else "light", viewport=size, has_touch=phone)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("request", lambda request: _note_request(found, request.url))
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("html[data-ready=yes]")
        return found

    yield opened
    for context in contexts:
        context.close()


def _note_request(found: Opened, url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        found.complaints.append(f"asks for {url}")
