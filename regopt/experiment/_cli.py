"""The command line, and the only module that prints: ``regopt list``, ``run``, ``claims``, ``sweep show``.

Exit codes: 0 all claims hold; 1 a claim failed; 2 bad input, said in one line; 3 an unexpected error inside
an experiment, said in one line; 130 interrupted, what was finished is on disk; 143 ended by a second SIGTERM.
Experiments are run, and their files are written, in ``_runner.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from regopt._core.messages import one_line, suggestion
from regopt._version import __version__
from regopt.experiment._checking import check_all
from regopt.experiment._claims import Claim, holding
from regopt.experiment._claims import table as claims_table
from regopt.experiment._config import COMMAND_LINE, ConfigError, check_file, read_toml, to_config
from regopt.experiment._discovery import (
    CHECKOUT,
    Experiment,
    Listing,
    configs_of,
    discover,
    load_experiment,
    named,
    unexpected,
)
from regopt.experiment._runner import execute_in, run_folder
from regopt.experiment._sweeps import best_settings, executor_of, watch, write_report

HOLDS, FAILS, BAD_INPUT, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130
MOST_JOBS = 1024  # processes of regopt claims

_CODES = """exit codes:
  0    all claims hold
  1    a claim failed
  2    bad input, said in one line
  3    an unexpected error inside an experiment, said in one line
  130  interrupted; what was finished is on disk, and the same command goes on from there
  143  ended by a second SIGTERM; what was saved is on disk
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``regopt``; by default those of the process.

    Returns:
        The exit code: 0 all claims hold, 1 a claim failed, 2 bad input, 3 an unexpected error, 130 interrupted.

    >>> main(["run", "nowhere", "default"])  # 2: bad input, said on the standard error
    2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files, also where there is no display
    try:
        arguments = _parse(words)
        return arguments.command(arguments)
    except SystemExit as stop:  # --help and --version, or the reader of the output has closed it
        return stop.code if isinstance(stop.code, int) else HOLDS
    except ConfigError as error:
        return _complain(str(error), BAD_INPUT, debug)
    except KeyboardInterrupt:
        return _complain("interrupted before anything was computed", INTERRUPTED, debug)
    except Exception as error:
        notes = error.__notes__ if hasattr(error, "partial_result") else []  # where a sweep's training was saved
        return _complain("; ".join([unexpected(error), *notes]), BROKEN, debug)


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors in one line and no guessing of abbreviated options."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        names = "; `regopt list` names the experiments and their configs" if message.endswith("CONFIG") else ""
        raise ConfigError(COMMAND_LINE, "", message + names)


class _Help(argparse.Action):
    """``--help`` of ``regopt run``: of the command, or of a config whose name was given before it."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        if getattr(namespace, "config", None) is None:
            parser.print_help()
            parser.exit()
        namespace.help = True


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="regopt", description="Experiments on regularised optimization.", epilog=_CODES)
    parser.add_argument("--version", action="version", version=f"regopt {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="list the experiments, their questions and their configs")
    listing.set_defaults(command=_list)
    run = commands.add_parser(
        "run",
        help="run one experiment and print its claims",
        description="Every field of the config can be overridden: --rate 0.1 --steps 10 30 --no-nesterov",
        epilog=_CODES,
        usage="%(prog)s [-h] [OPTIONS] EXPERIMENT CONFIG [--FIELD VALUE ...]",
        add_help=False,
    )
    about = "show this text; after EXPERIMENT CONFIG, the fields of the config"
    run.add_argument("-h", "--help", action=_Help, nargs=0, default=False, help=about)
    run.add_argument("experiment", metavar="EXPERIMENT", help="a file, or a name in experiments/")
    run.add_argument("config", metavar="CONFIG", help="a TOML file, or a name in configs/EXPERIMENT/")
    different = "resume a sweep that was begun with other versions, devices or data"
    run.add_argument("--allow-different", action="store_true", help=different)
    run.add_argument("--claim", metavar="TEXT", default="", help="print only the claims whose statement contains TEXT")
    run.add_argument("--executor", choices=["ray"], help="train the settings of its sweep on Ray")
    cluster = 'the Ray cluster, "auto" for the one of this machine; by default a cluster is started here'
    run.add_argument("--address", metavar="ADDRESS", help=cluster)
    _add_options(run, _run)
    every = "run all experiments and print one table of claims"
    claims = commands.add_parser("claims", help=every, description=every, epilog=_CODES)
    claims.add_argument("--config", metavar="NAME", default="default", help="which of their configs (default)")
    at_once = "experiments at a time, each in a process of its own (1)"
    claims.add_argument("--jobs", metavar="N", type=_positive, default=1, help=at_once)
    _add_options(claims, _claims)
    _add_sweep(commands)
    arguments, overrides = parser.parse_known_args(words)
    if overrides and arguments.command is not _run:
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    arguments.overrides = overrides
    return arguments


def _positive(text: str) -> int:
    """A whole number above zero, or argparse's one line about it."""
    if text.isdecimal() and 0 < int(text) <= MOST_JOBS:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be an integer in [1, {MOST_JOBS}], got {text!r}")


def _add_options(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int]) -> None:
    where = "folder for the folders of the runs (runs)"
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help=where)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(command=command)


def _add_sweep(commands: argparse._SubParsersAction[_Parser]) -> None:
    sweep = commands.add_parser("sweep", help="show or report a sweep in a folder, finished or not")
    actions = sweep.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print its best settings")
    show.add_argument("--rows", metavar="N", type=int, default=20, help="settings to show (20)")
    show.set_defaults(command=_show)
    report = actions.add_parser("report", help="write one HTML page that opens without a network")
    report.add_argument("--out", metavar="FILE", type=Path, help="the page (report.html in DIR)")
    report.set_defaults(command=_report)
    watching = actions.add_parser("watch", help="serve that page to this machine, and refresh it")
    watching.add_argument("--port", metavar="N", type=int, default=0, help="where to listen (a free port)")
    watching.set_defaults(command=_watch)
    written = "what a sweep or Result.save wrote"
    watching.add_argument("folders", metavar="DIR", type=Path, nargs="+", help=f"{written}; several lie side by side")
    for action in (show, report):
        action.add_argument("folder", metavar="DIR", type=Path, help=written)
    for action in (show, report, watching):
        action.add_argument("--debug", action="store_true", help="show tracebacks")


def _show(arguments: argparse.Namespace) -> int:
    _console().print(best_settings(arguments.folder, arguments.rows))
    return HOLDS


def _report(arguments: argparse.Namespace) -> int:
    print(write_report(arguments.folder, arguments.out))
    return HOLDS


def _watch(arguments: argparse.Namespace) -> int:
    with watch(arguments.folders, arguments.port) as server, contextlib.suppress(KeyboardInterrupt):
        shown = ", ".join(map(str, arguments.folders))
        print(f"http://127.0.0.1:{server.server_port}/ shows {shown}; Ctrl-C ends it", flush=True)
        server.serve_forever()
    return HOLDS


def _list(arguments: argparse.Namespace) -> int:
    del arguments
    table = Table()
    for name in ("experiment", "question", "configs"):
        table.add_column(name, overflow="fold")
    for found in _experiments():
        configs = " ".join(path.stem for path in found.configs)
        table.add_row(Text(found.name), Text(found.question or "(no question)"), Text(configs))
    _console().print(table)
    return HOLDS


def _run(arguments: argparse.Namespace) -> int:
    path = named(arguments.experiment, Path("experiments"), ".py")
    if path.parent == Path("experiments") and not path.parent.is_dir():
        raise ConfigError(path, "", f"no such file; {CHECKOUT}")
    check_file(path, ".py")
    config_path = named(arguments.config, configs_of(path), ".toml")
    values = read_toml(config_path)  # an error in it is reported before the slow imports
    _use_all_cores()
    experiment = load_experiment(path)
    config = to_config(values, experiment.config_class, config_path, arguments.overrides)
    if arguments.help:
        return _help(arguments, experiment, config)
    executor = executor_of(arguments.executor, arguments.address)
    folder = run_folder(experiment, config, arguments.out)
    try:
        outcome = execute_in(folder, experiment, config, allow_different=arguments.allow_different, executor=executor)
    except KeyboardInterrupt:
        return _complain(f"interrupted; what was finished is in {folder}", INTERRUPTED, arguments.debug)
    except SystemExit as error:
        raise RuntimeError(f"the experiment called exit({error.code!r})") from error
    if outcome.interrupted:
        missing = "".join(f"; no {reason}" for reason in outcome.skipped)
        return _complain(f"interrupted; what was finished is in {folder}{missing}", INTERRUPTED, debug=False)
    claims = holding(arguments.claim, outcome.claims)
    _console().print(claims_table(claims, experiment.question))
    _count(claims)
    print(f"{folder} ({outcome.seconds:.1f} s)")
    return HOLDS if all(claim.holds for claim in claims) else FAILS


def _help(arguments: argparse.Namespace, experiment: Experiment, config: object) -> int:
    """List the fields of a config: flag, type, value in this config, and what the class says about it."""
    import tyro

    prog = f"regopt run {arguments.experiment} {arguments.config}"
    about = f"{experiment.question}\n\nThe defaults are the values of this config. Options of every run: regopt run -h"
    tyro.cli(experiment.config_class, prog=prog, description=about, args=["--help"], default=config)
    return HOLDS


def _claims(arguments: argparse.Namespace) -> int:
    listings = _experiments()
    name = arguments.config
    known = sorted({path.stem for listing in listings for path in listing.configs})
    if name not in known:
        raise ConfigError("configs", name, f"no experiment has such a config; {suggestion(name, known)}")
    _use_all_cores()
    checked, interrupted = check_all(listings, name, arguments.out, arguments.jobs)
    if arguments.debug:
        print("".join(each.trace for each in checked), end="", file=sys.stderr)
    claims = [claim for each in checked for claim in each.claims]
    _console().print(claims_table(claims, f"Claims of all experiments, config {name}"))
    _count(claims)
    if interrupted:
        return _complain(f"interrupted; what was finished is in {arguments.out}", INTERRUPTED, debug=False)
    return HOLDS if all(claim.holds for claim in claims) else FAILS


def _count(claims: Sequence[Claim]) -> None:
    """Say how many claims failed, which is hard to see in a long table."""
    failed = sum(not claim.holds for claim in claims)
    if failed:
        print(f"{failed} of {len(claims)} claims failed")


def _experiments() -> list[Listing]:
    found = discover(Path())
    if not found:
        raise ConfigError("experiments", "", f"this folder has no experiments; {CHECKOUT}")
    return found


def _use_all_cores() -> None:
    from regopt.sweep.engine import use_all_cores

    with contextlib.suppress(RuntimeError):  # jax runs already, with the devices that it has
        use_all_cores()


def _console() -> Console:
    """Choose a width: the terminal's own, or room for a statement where the output goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    else:
        print(f"regopt: {one_line(message)}", file=sys.stderr)
    return code
