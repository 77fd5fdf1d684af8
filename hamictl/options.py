# SPDX-License-Identifier: Apache-2.0
"""The options that every command and group accepts in every position, and the reporting of errors.

`noun(...)` creates a group and `verb(app)` a command in it. The command's function gets a Session first.
"""

import inspect
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, TypeGuard, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import fields

from hamictl.session import Output, Session, Shared
from hamid.core.errors import HamiError, Interrupted, UsageError
from hamid.core.exits import Exit, exit_code

Sim = Annotated[
    str | None,
    typer.Option(
        "--sim", metavar="SPEC|STATE", help="Use a simulated node: a spec such as 2xA100-SXM4-40GB, or a state file."
    ),
]
Root = Annotated[
    str | None,
    typer.Option("--root", metavar="DIR", help="Root directory of the node's files (default HAMI_ROOT, else /)."),
]
OutputOption = Annotated[Output | None, typer.Option("--output", "-o", help="Output format (default table).")]
Gpus = Annotated[
    list[str] | None,
    typer.Option("--gpu", "-i", metavar="GPU", help="Index, uuid or PCI bus id of a GPU. Repeatable."),
]
_SHARED: tuple[tuple[str, object], ...] = (("sim", Sim), ("root", Root), ("output", OutputOption))
_BROKEN_PIPE = 141
_SPECIAL_FORMS = frozenset({Output.MIG_PARTED})
_FORMS_HINT = "use table, wide, json, yaml or name; only 'mig export' also supports mig-parted"


def noun(name: str, summary: str) -> typer.Typer:
    """A group of commands that also accepts the shared options."""
    app = typer.Typer(name=name, help=summary, no_args_is_help=True, rich_markup_mode=None, add_completion=False)

    @app.callback()
    def shared(context: typer.Context, sim: Sim = None, root: Root = None, output: OutputOption = None) -> None:
        remember(context, sim=sim, root=root, output=output)

    shared.__doc__ = summary
    return app


def remember(context: typer.Context, *, sim: str | None, root: str | None, output: Output | None) -> None:
    """Keep the options given at this position for the command that follows."""
    earlier = context.obj if isinstance(context.obj, Shared) else Shared()
    context.obj = earlier.override(sim=sim, root=root, output=output)


def verb(
    app: typer.Typer, name: str, *, more_forms: frozenset[Output] = frozenset()
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Register a function `(session, own options...) -> exit code or None` as a command.

    `more_forms` are values of `-o` that only this command supports.

    A parameter whose type is a Struct is a group of options, one per field; the function gets the filled Struct.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        groups = {p.name: p.annotation for p in own if _is_group(p.annotation)}

        @wraps(function)
        def command(context: typer.Context, *, sim: Sim, root: Root, output: OutputOption, **given: object) -> None:
            remember(context, sim=sim, root=root, output=output)
            for key, group in groups.items():
                given[key] = group(**{field: given.pop(field) for field in group.__struct_fields__})
            session = Session(context.obj)
            if session.output in _SPECIAL_FORMS - more_forms:
                raise typer.Exit(
                    report(session, UsageError(f"'{name}' does not support -o {session.output}", _FORMS_HINT))
                )
            raise typer.Exit(run(session, function, given))

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        shared = [_option(key, kind, None) for key, kind in _SHARED]
        parameters = [context, *(each for p in own for each in _expand(p)), *shared]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return app.command(name)(command)

    return decorate


def _is_group(annotation: object) -> TypeGuard[type[Struct]]:
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def _expand(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """A parameter as typer gets it: itself, or one per field of its group."""
    if not _is_group(parameter.annotation):
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    hints = get_type_hints(parameter.annotation, include_extras=True)
    return [_option(field.name, hints[field.name], field.default) for field in fields(parameter.annotation)]


def _option(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def run(session: Session, function: Callable[..., int | None], given: dict[str, object]) -> int:
    """Run a command's function. An error becomes a message, with -o json or yaml also a document, and an exit code."""
    try:
        code = function(session, **given) or Exit.OK
        sys.stdout.flush()
    except HamiError as error:
        return report(session, error)
    except (KeyboardInterrupt, SystemExit):  # the latter is how hamictl.entry ends at ^C
        return report(session, Interrupted("interrupted", "if a change was in progress, run: hamictl mig repair"))
    except BrokenPipeError:
        # The reader closed the pipe; the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return int(code)


def report(session: Session, error: HamiError) -> int:
    """Print an error and its hint on stderr, and for json and yaml also a document on stdout; return the exit code."""
    if session.output in {Output.JSON, Output.YAML}:
        from hamictl.render import documents
        from hamid.core.documents.envelope import error_document

        sys.stdout.write(documents.render(error_document(error), session.output))
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    hint = f"\nhint: {error.hint}" if error.hint else ""
    sys.stderr.write(f"hamictl: {error.message}{notes}{hint}\n")
    return int(exit_code(error))
