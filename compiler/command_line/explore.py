"""`attnc explore`: the designs of a space, machine and recipe together, that no other beats in everything."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_quiet_option, check_outputs, shapes_of, write_text

if TYPE_CHECKING:
    from ..explore.setup import Setup
    from ..explore.study import Trial
    from ..explore.workers import Pool


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "models", metavar="MODEL.onnx", type=Path, nargs="*", help="the ONNX model, or several to choose among"
    )
    parser.add_argument(
        "--space", metavar="FILE", type=Path, required=True, help="what is open in machine and recipe (TOML)"
    )
    parser.add_argument("--objective", metavar="LIST", default="cycles,energy,area", help="figures to be best in")
    parser.add_argument("--at-most", metavar="FIGURE=N", action="append", default=[], help="limit (repeat for more)")
    parser.add_argument("--at-least", metavar="FIGURE=N", action="append", default=[], help="limit (repeat for more)")
    parser.add_argument("--data", metavar="DATA.npz", type=Path, help="samples and their labels, for accuracy")
    parser.add_argument("--labels", metavar="NAME", help="the array of labels (default: the one that is no input)")
    parser.add_argument("--output", metavar="NAME", help="the output that answers (default: the first)")
    parser.add_argument("--calibrate", metavar="NPZ", type=Path, help="samples for static int8 ranges")
    parser.add_argument("--shape", metavar="NAME=1x128", action="append", default=[], help="shape of a graph input")
    parser.add_argument("--trials", metavar="N", type=int, default=100, help="go on until there are so many (100)")
    parser.add_argument("--study", metavar="FILE.db", type=Path, help="where trials are kept (default: SPACE.db)")
    parser.add_argument("--sampler", choices=["nsga2", "tpe", "random"], default="nsga2", help="how designs are drawn")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of what is drawn at random (0)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes on this host (1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the work instead")
    parser.add_argument("--csv", metavar="OUT.csv", type=Path, help="write every trial")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc explore model.onnx --space space.toml --trials 200 --workers 2
  attnc explore model.onnx --space space.toml --objective cycles,energy,accuracy --data labelled.npz --at-most area=8"""


def run(options: Namespace) -> int:
    """Search, and print the front."""
    from tqdm import tqdm

    from ..explore.front import csv_text, front_of, table_text
    from ..explore.search import Search
    from ..explore.study import Study

    setup = _setup(options)
    path = options.study or Path(f"{options.space.stem}.db")
    check_outputs([options.csv], [*options.models, options.space, options.data, options.calibrate])
    study = Study(setup, path, options.sampler, options.seed)
    with _pool(options) as pool, tqdm(total=options.trials, desc="explore", unit="trial", disable=options.quiet) as bar:

        def told(_: Trial) -> None:
            bar.update()

        search = Search(study, pool, told)
        bar.update(len(search.trials))
        search.run(options.trials)
    points = front_of(setup, search.trials.values())
    if options.csv is not None:
        write_text(options.csv, csv_text(setup, search.trials.values(), points))
    print(table_text(setup, points))
    return 0


def _setup(options: Namespace) -> Setup:
    from ..explore.design import Work
    from ..explore.objectives import limits_of, objectives_of
    from ..explore.setup import Setup, labelled
    from ..explore.space import Space

    data, calibrate = (None if path is None else str(path.resolve()) for path in (options.data, options.calibrate))
    return Setup(
        labelled(options.models),
        Space.read(options.space),
        Work(shapes_of(options), calibrate, data, options.labels, options.output),
        objectives_of(options.objective),
        limits_of(options.at_most, options.at_least),
    )


def _pool(options: Namespace) -> Pool:
    from ..explore.workers import Cluster, Processes

    return Processes(options.workers) if options.scheduler is None else Cluster(options.scheduler)
