"""The ``prefetch-sim`` command: what exists, and how its errors reach the user.

A wrong input is one line on stderr and exit code 2, whatever raised it; nothing partial is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from prefetch_sim.experiments.commands import (
    advise,
    calibrate,
    capture,
    catalogue,
    check,
    compare,
    laboratory,
    new_hardware,
    plot,
    replay,
    run,
    score,
    sweep,
    trace,
    validate,
)
from prefetch_sim.experiments.text import LONGEST, escaped, on_any_terminal, one_line, shortened

HELP = {"help_option_names": ["-h", "--help"]}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"prefetch-sim {metadata.version('moe-prefetch-sim')}")
        raise typer.Exit


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:  # which would be taken for an end of input at a prompt
            raise RuntimeError(f"EOFError: {error}") from error


app = typer.Typer(
    cls=_Commands,
    context_settings=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Simulate expert prefetching and caching for Mixture-of-Experts inference."""


app.command("advise")(advise.advise)
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("replay")(replay.replay)
app.command("validate")(validate.validate)
app.command("sweep")(sweep.sweep)
app.command("plot")(plot.plot)
app.command("check")(check.check)
app.command("list")(catalogue.list_names)
catalogue.hardware.command("new")(new_hardware.new)
catalogue.hardware.command("calibrate")(calibrate.calibrate)
trace.trace.command("capture")(capture.capture)
trace.trace.command("train")(laboratory.train)
trace.trace.command("predict")(laboratory.predict)
trace.trace.command("score")(score.score)
for name, group in (
    ("hardware", catalogue.hardware),
    ("runtime", catalogue.runtime),
    ("trace", trace.trace),
):
    app.add_typer(group, name=name, context_settings=HELP, no_args_is_help=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; always raises SystemExit."""
    on_any_terminal()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="prefetch-sim")
    except BrokenPipeError:
        # The reader (head, less) went away: say nothing, and keep the interpreter from flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, RuntimeError) as error:
        if not isinstance(error, _user_errors()):
            raise
        print(f"error: {_told(error)}", file=sys.stderr)
        sys.exit(2)


def _user_errors() -> tuple[type[Exception], ...]:
    """What a user's input may raise. Imported late: ``--help`` needs none of it."""
    from prefetch_sim.hardware_profiles import ProfileError
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.trace import TraceError

    return ConfigError, ProfileError, TraceError, OSError


def _told(error: Exception) -> str:
    """One line; of a policy's own mistake, three."""
    from prefetch_sim.sim.config.foreign import PolicyError

    if isinstance(error, PolicyError):
        what, *where = str(error).splitlines()
        return "\n".join([one_line(what), *(shortened(escaped(line), LONGEST) for line in where)])
    if isinstance(error, OSError) and error.strerror and error.filename:
        return one_line(f"{error.filename}: {error.strerror}")
    return one_line(str(error))


if __name__ == "__main__":
    main()
