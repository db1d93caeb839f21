"""The root command: the list of commands, each imported only when it is used. Must not import any of them itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer import BadParameter
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pixelflow import __version__
from pixelflow.cli.distributions import SERVER
from pixelflow.cli.exit_codes import MEANINGS, SERVICE_MEANINGS, ExitCode, legend

if TYPE_CHECKING:
    from typer._click import Command, Context

_PHOTOS, _WEBHOOKS, _SERVICE = "Photos", "Webhooks", "Service"


class Entry(NamedTuple):
    """A line of ``pixelflow --help`` and where its command is defined."""

    target: str
    """``module:attribute`` below ``pixelflow.cli.commands``: a function, or a Typer app with commands of its own."""
    panel: str
    summary: str
    """The first line of the command's own help, repeated here so that listing commands imports none of them."""
    exit_codes: Mapping[ExitCode, str] = MEANINGS
    extra: str | None = None
    """The extra of the service to install for the command. None: the client has all that it imports."""


COMMANDS = {
    "submit": Entry("submit:submit", _PHOTOS, "Create a job for each photo, upload the photo and start the job."),
    "explain": Entry("explain:explain", _PHOTOS, "Show what a pipeline would do with a photo, without running it."),
    "jobs": Entry("jobs:app", _PHOTOS, "List, show, download, watch, cancel, retry and erase jobs."),
    "assets": Entry("assets:app", _PHOTOS, "Add, list and delete assets: pictures for pipelines."),
    "presets": Entry("presets:app", _PHOTOS, "Save, list, show, delete and run again presets: named pipelines."),
    "batches": Entry("batches:app", _PHOTOS, "Create, list, show, watch, close, cancel and delete batches of jobs."),
    "usage": Entry("usage:usage", _PHOTOS, "Show usage totals by day or by user."),
    "capabilities": Entry(
        "capabilities:capabilities", _PHOTOS, "Show the operations, formats, limits and workers of the API."
    ),
    "deliveries": Entry("deliveries:app", _WEBHOOKS, "List and replay webhook deliveries."),
    "webhook": Entry(
        "webhook:app", _WEBHOOKS, "Receive webhooks locally; manage webhook endpoints and the signing secret."
    ),
    "up": Entry("up:up", _SERVICE, "Run the whole service on this machine until Ctrl-C.", SERVICE_MEANINGS, "devstack"),
    "demo": Entry(
        "demo:demo", _SERVICE, "Run one photo through a temporary service and save five outputs.", extra="devstack"
    ),
    "keys": Entry("keys:app", _SERVICE, "Create, list and revoke API keys.", SERVICE_MEANINGS, "api"),
    "users": Entry("users:app", _SERVICE, "Show and set the shares of users in the queue.", SERVICE_MEANINGS, "api"),
    "secrets": Entry("secrets:app", _SERVICE, "Re-encrypt stored secrets with another key.", SERVICE_MEANINGS, "api"),
    "doctor": Entry("doctor:doctor", _SERVICE, "Check this installation and say what to do about what is missing."),
    "api": Entry("service:api", _SERVICE, "Run the API.", SERVICE_MEANINGS, "api"),
    "worker": Entry("service:worker", _SERVICE, "Run a worker, which processes jobs.", SERVICE_MEANINGS, "worker"),
    "controller": Entry(
        "service:controller", _SERVICE, "Run the controller, which does the background work.", SERVICE_MEANINGS, "api"
    ),
    "migrate": Entry(
        "service:migrate", _SERVICE, "Migrate the database and set the rights of roles.", SERVICE_MEANINGS, "api"
    ),
}


class _LazyGroup(TyperGroup):
    """Lists :data:`COMMANDS` by name and summary, and imports the one that is run, completed or asked for its help."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - passed on to Typer
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel))

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        ctx.invoked_subcommand = name  # for an error of the import; Click sets it afterwards
        return name, load_command(name) if name else None, rest

    def invoke(self, ctx: Context) -> Any:  # noqa: ANN401 - any result of a command
        try:
            return super().invoke(ctx)
        except BadParameter as error:
            from pixelflow.cli.invalid_values import message_of  # noqa: PLC0415 - needs Pydantic, which is slow to import

            error.message = message_of(error)
            raise
        except ImportError as error:  # `from pixelflow import …` of a missing part is no ModuleNotFoundError
            _explain_missing(error, COMMANDS.get(ctx.invoked_subcommand or ""))
            raise typer.Exit(ExitCode.MISCONFIGURED) from None


def _explain_missing(error: ImportError, entry: Entry | None) -> None:
    """Say which extra of the service has the module that a command imports."""
    package = (error.name or "").partition(".")[0]
    is_missing = isinstance(error, ModuleNotFoundError) or error.name == "pixelflow"
    if entry is None or entry.extra is None or not package or not is_missing:
        raise error
    what = "a part of the service" if package == "pixelflow" else f"the package {package}"
    print(f"Error: This command needs {what}: pip install '{SERVER}[{entry.extra}]'", file=sys.stderr)


def load_command(name: str) -> Command:
    """Import the command ``name`` of :data:`COMMANDS`. Its help, and that of its subcommands, lists the exit codes."""
    entry = COMMANDS[name]
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(f"pixelflow.cli.commands.{module}"), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False)
        target.command(name)(function)
    command = get_command(target)
    for each in [command, *(command.commands.values() if isinstance(command, TyperGroup) else ())]:
        each.epilog = legend(entry.exit_codes)
    return command


def build_app() -> typer.Typer:
    """Return the root command."""
    app = typer.Typer(
        name="pixelflow",
        cls=_LazyGroup,
        epilog=legend(),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return app


def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda requested: _print_version() if requested else None,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Self-hosted, asynchronous image processing."""


def _print_version() -> None:
    print(f"pixelflow {__version__}")
    raise typer.Exit
