"""`attnc explore`: the designs of a space, machine and recipe together, that no other beats in everything."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...isa.errors import UsageError
from .options import STDOUT, add_quiet_option, check_outputs, shapes_of, write_text

if TYPE_CHECKING:
    from ..explore.exploration import Exploration
    from ..explore.study import Trial


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "models", metavar="MODEL.onnx", type=Path, nargs="*", help="the model, or several to choose from"
    )
    parser.add_argument("--space", metavar="FILE", type=Path, help="what is open in machine and recipe (TOML)")
    parser.add_argument("--objective", metavar="LIST", help="what to be best in (default: cycles,energy,area)")
    for name, meaning in (("--at-most", "at most"), ("--at-least", "at least")):
        parser.add_argument(
            name, metavar="FIGURE=N", action="append", default=[], help=f"a limit: {meaning} so much (repeat for more)"
        )
    parser.add_argument("--data", metavar="DATA.npz", type=Path, help="samples and their labels, for accuracy")
    parser.add_argument("--labels", metavar="NAME", help="the array of labels (default: the one that is no input)")
    parser.add_argument("--output", metavar="NAME", help="the output that answers (default: the first)")
    parser.add_argument("--calibrate", metavar="NPZ", type=Path, help="samples for static int8 ranges")
    parser.add_argument("--shape", metavar="NAME=1x128", action="append", default=[], help="shape of a graph input")
    parser.add_argument("--trials", metavar="N", type=int, default=100, help="go on until there are so many (100)")
    parser.add_argument("--study", metavar="FILE.db", type=Path, help="where trials are kept (default: SPACE.db)")
    parser.add_argument("--sampler", metavar="NAME", default="nsga2", help="nsga2 (default), tpe or random")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of what is drawn at random (0)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes on this host (1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster that does the work instead")
    parser.add_argument("--csv", metavar="OUT.csv", type=Path, help="write every trial as a table")
    parser.add_argument("--plot", metavar="OUT.svg", type=Path, help="draw the front (.svg or .png)")
    parser.add_argument("--html", metavar="OUT.html", type=Path, help="write a page of plot and tables")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything; - is stdout")
    parser.add_argument("--export", metavar="TRIAL", type=int, help="with --study: one trial's machine and recipe")
    parser.add_argument("--to", metavar="DIR", type=Path, help="the folder for --export")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc explore model.onnx --space space.toml --trials 200 --workers 2
  attnc explore model.onnx --space space.toml --objective cycles,energy,accuracy --data labelled.npz --at-most area=8
  attnc explore --study space.db --plot front.svg
  attnc explore --study space.db --export 17 --to design"""
    parser.description = f"{parser.description} Given again, it goes on; a study alone is shown."


def run(options: Namespace) -> int:
    """Search, or read a study, and print its front."""
    _check_consistent(options)
    inputs = [*options.models, options.space, options.data, options.calibrate, options.study]
    check_outputs([options.csv, options.plot, options.html, options.json], inputs)
    found = _explore(options) if options.models else _kept(options)
    if options.export is not None:
        from ..explore.export import export

        print("\n".join(export(found.setup, found.trial(options.export), options.to)))
        return 0
    _write(options, found)
    if options.json != STDOUT:
        from ..explore.summary import summary_text

        print(summary_text(found))
    return 0 if found.front else 1


def _check_consistent(options: Namespace) -> None:
    if options.models and options.space is None:
        raise UsageError("a model is searched in a space", "give --space FILE")
    if not options.models and options.study is None:
        raise UsageError("neither a model nor a study is given", "give MODEL.onnx and --space, or --study FILE.db")
    if not options.models and options.space is not None:
        raise UsageError("a space goes with a model", "give MODEL.onnx")
    if (options.export is None) != (options.to is None):
        raise UsageError("--export TRIAL goes with --to DIR")
    if options.models and options.export is not None:
        raise UsageError("--export reads a study", "give --study alone, without a model")
    if options.plot is not None and options.plot.suffix not in (".svg", ".png"):
        raise UsageError(f"{options.plot} is no kind of picture that is drawn", "end its name in .svg or .png")


def _explore(options: Namespace) -> Exploration:
    from tqdm import tqdm

    from ..explore.exploration import DEFAULT_OBJECTIVES, explore

    with tqdm(total=options.trials, desc="explore", unit="trial", leave=False, disable=options.quiet or None) as bar:

        def progress(trials: Mapping[int, Trial]) -> None:
            refused = sum(not trial.outcome.figures for trial in trials.values())
            bar.set_postfix_str(f"{refused} refused", refresh=False)
            bar.update(len(trials) - bar.n)

        return explore(
            options.models,
            options.space,
            objectives=options.objective or DEFAULT_OBJECTIVES,
            at_most=_bounds("--at-most", options.at_most),
            at_least=_bounds("--at-least", options.at_least),
            data=options.data,
            labels=options.labels,
            output=options.output,
            calibrate=options.calibrate,
            shapes=shapes_of(options),
            trials=options.trials,
            study=options.study,
            sampler=options.sampler,
            seed=options.seed,
            workers=options.workers,
            scheduler=options.scheduler,
            progress=progress,
        )


def _kept(options: Namespace) -> Exploration:
    from ..explore.exploration import load_exploration

    return load_exploration(options.study)


def _bounds(option: str, texts: Iterable[str]) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            bounds[name] = float(number)
        except ValueError:
            raise UsageError(f"{option} {text!r} is not understood", "write FIGURE=NUMBER") from None
    return bounds


def _write(options: Namespace, found: Exploration) -> None:
    if options.csv is not None:
        from ..explore.front import csv_text

        write_text(options.csv, csv_text(found.setup, found.trials, found.front))
    if options.plot is not None:
        from ..explore.plot import write_plot

        write_plot(found, options.plot)
    if options.html is not None:
        from ..explore.page import front_page

        write_text(options.html, front_page(found))
    if options.json is not None:
        import json

        write_text(options.json, json.dumps(found.to_dict(), indent=2) + "\n")
