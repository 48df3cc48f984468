"""The command line: its options, and what happens to errors.

Nothing heavy is imported here, so that ``optprune --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from optprune.cli.names import OPTIMIZERS
from optprune.errors import OptpruneError

__all__ = ["main"]

INTERRUPTED = 130
"""The shell's own exit status for Ctrl-C: 128 and the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``optprune``; what the process was started with by default.

    Returns
    -------
    int
        The exit status: 0; 2 for an error of the user's, told in one line on standard error (with
        the traceback under ``--debug`` or ``OPTPRUNE_DEBUG=1``); 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        From argparse, for ``--help``, ``--version`` and what is no option.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        run(options, given)
        sys.stdout.flush()
    except OptpruneError as error:
        if getattr(options, "debug", False) or os.environ.get("OPTPRUNE_DEBUG", "0") != "0":
            traceback.print_exc()
        else:
            print(f"optprune: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupted(options, given)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`optprune show DIR | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def run(options: argparse.Namespace, given: Sequence[str]) -> None:
    """Do what was asked."""
    written = shlex.join(["optprune", *given])
    if options.command == "demo":
        from optprune.cli.demo import demo

        demo(
            out=options.out,
            evaluations=options.evaluations,
            seed=options.seed,
            device=options.device,
            command=written,
        )
    elif options.command == "solve":
        from optprune.cli.solve import solve_task

        solve_task(
            options.task,
            optimizer=options.optimizer,
            options=options.options,
            evaluations=options.evaluations,
            seed=options.seed,
            objectives=options.objectives or [],
            subject_to=options.subject_to,
            select=options.select,
            out=options.out,
            replace=options.replace,
            journal=options.journal,
            device=options.device,
            threads=options.threads,
            workers=options.workers,
            command=written,
        )
    elif options.command == "plugins":
        from optprune.cli.listing import list_plugins

        list_plugins()
    else:
        from optprune.cli.show import show

        show(options.folder)


def interrupted(options: argparse.Namespace, given: Sequence[str]) -> str:
    """Say what is left after Ctrl-C."""
    if getattr(options, "journal", None) is not None:
        return (
            f"Interrupted. What was evaluated is kept in {options.journal}; the same command goes "
            f"on from there:\n  {shlex.join(['optprune', *given])}"
        )
    if options.command == "solve":
        return "Interrupted; nothing was written. With --journal FILE a search can be resumed."
    return "Interrupted; nothing was written."


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # the parser of a command must not undo what came before it
        help="show the traceback of an error (as OPTPRUNE_DEBUG=1 does)",
    )
    parser = argparse.ArgumentParser(
        prog="optprune",
        parents=[common],
        description="Prune a trained network by solving an optimization problem.",
        epilog="Begin with: optprune demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add in (_add_demo, _add_solve, _add_show, _add_plugins):
        add(commands, common)
    return parser


_Commands = argparse._SubParsersAction


def _add_demo(
    commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    text = "prune a classifier of handwritten digits, from the trained network to smaller ones"
    parser = commands.add_parser(
        "demo", parents=[common], help=text, description=_sentence(text), allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help=_OUT)
    parser.add_argument("--evaluations", type=int, default=600, metavar="N", help=_EVALUATIONS)
    parser.add_argument("--seed", type=int, default=1, metavar="S", help=_SEED)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")


def _add_solve(
    commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    text = "search for smaller networks of a task"
    parser = commands.add_parser(
        "solve",
        parents=[common],
        help=text,
        description=_sentence(text),
        epilog=_SOLVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "task",
        metavar="TASK",
        help="a ready-made case (digits, fashion, regression, or a plug-in's), or "
        "package.module:function, which returns a Task or a Problem; the current folder is "
        "searched for it",
    )
    parser.add_argument(
        "--optimizer",
        default="nsga2",
        metavar="NAME",
        help=f"one of {', '.join(OPTIMIZERS)}; a plug-in's name; or package.module:name of an "
        "optimizer, or of a class or function that makes one. Default: %(default)s",
    )
    parser.add_argument(
        "--option",
        dest="options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the optimizer, such as population=64 or targets=0.8,0.5; once for each",
    )
    parser.add_argument("--evaluations", type=int, default=600, metavar="N", help=_EVALUATIONS)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help=_SEED)
    parser.add_argument(
        "--minimize",
        dest="objectives",
        action=_Objective,
        const="minimize",
        metavar="METRIC",
        help="an objective; once for each, the first decides which network is best. Metrics: "
        "error, loss, score, macs, parameters, activation_memory, latency, one of the Problem's "
        "own, or a plug-in's. Default: the Problem's objectives; for a Task, error (or its score) "
        "and macs",
    )
    parser.add_argument(
        "--maximize",
        dest="objectives",
        action=_Objective,
        const="maximize",
        metavar="METRIC",
        help="an objective of which more is better, such as an accuracy as score",
    )
    parser.add_argument(
        "--subject-to",
        action="append",
        default=[],
        metavar="BOUND",
        help="a bound such as 'macs<=0.5', in quotes; once for each. They take the place of the "
        "Problem's own",
    )
    parser.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="BOUND",
        help="a bound that only the one network must keep that is saved at the end: the best in "
        "the first objective among those that do",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=_OUT)
    parser.add_argument(
        "--replace", action="store_true", help="replace what an earlier run has written to DIR"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="keep every evaluation in FILE, so that a run that was killed goes on when the same "
        "command is given again",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, …; by default where the task already is"
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        default=1,
        help="threads of torch on the CPU (default: 1, the fastest for small networks)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=1,
        help="processes that evaluate at once, each with one thread; the result is the same for "
        "any number (default: 1, this process)",
    )


def _add_show(
    commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    text = "show a result that was saved; no network is needed"
    parser = commands.add_parser(
        "show", parents=[common], help=text, description=_sentence(text), allow_abbrev=False
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="what demo or solve has written, or a folder of Result.save",
    )


def _add_plugins(
    commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    text = "list the optimizers, metrics and ready-made cases that can be named, and their packages"
    commands.add_parser(
        "plugins", parents=[common], help=text, description=_sentence(text), allow_abbrev=False
    )


def _sentence(text: str) -> str:
    """Make a sentence of the short help."""
    return f"{text[0].upper()}{text[1:]}."


class _Objective(argparse.Action):
    """Appends (direction, metric): the order of ``--minimize`` and ``--maximize`` counts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        before = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*before, (self.const, values)])


class _Version(argparse.Action):
    """Prints the version; looked up only when it is asked for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse's signature
        values: object,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        from importlib.metadata import version

        print(f"optprune {version('optprune')}")
        parser.exit()


_OUT = "where to write the result, the picture and one smaller network"
_EVALUATIONS = "budget of candidate networks; default: %(default)s"
_SEED = "everything random follows from it; default: %(default)s"
_SOLVE_EPILOG = """\
Written to DIR: result/ (optprune show DIR reads it), front.png, and network/ (optprune.load reads
it). macs, parameters and activation_memory are fractions of the dense network; macs.absolute and so
on are in MACs, parameters and bytes.

example:
  optprune solve digits --minimize error --minimize macs --subject-to 'macs<=0.5' \\
      --evaluations 300 --seed 1 --journal digits.db --out digits-output
"""
