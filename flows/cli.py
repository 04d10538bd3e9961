"""`glean`: the command line. Imports happen where they are used: looking is quick."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.markup import escape

from flows.dvc import reported
from flows.screen import edit
from flows.screen.terminal import Screen
from modalities.items import UserError
from tasks.settings.params import MODALITIES, load

if TYPE_CHECKING:
    from flows.dvc.choice import Choice

app = typer.Typer(
    help="Point it at data with few labels; it shows what every free signal is worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Whatever reads a pipe would rather have long lines than tables folded to 80 columns.
out = Screen(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Screen(highlight=False, soft_wrap=True, stderr=True)

Targets = Annotated[
    list[str] | None, typer.Argument(help="stages, runs or outputs; none: all that is yours")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="MODALITY", help="one modality's stages only")
]
Everything = Annotated[
    bool, typer.Option("--all", help="what is left on the Playroom, too, beside your own data")
]
Jobs = Annotated[
    int | None, typer.Option(min=0, help="stages side by side; 0: one per core", show_default=False)
]


def _project() -> Path:
    """The project's folder, which becomes the working folder: stages are named relative to it."""
    from flows.dvc.selection import project

    root = project(Path.cwd())
    os.chdir(root)
    return root


@app.command()
def run(
    targets: Targets = None,
    only: Only = None,
    everything: Everything = False,
    force: Annotated[bool, typer.Option("--force", help="run what is up to date too")] = False,
    jobs: Jobs = None,
) -> None:
    """Bring everything up to date, or what leads to TARGET, and print the results."""
    from flows.screen import launch

    choice = _choice(targets, only, everything)
    launch.run(_project(), choice, force, jobs, out=out, err=err)


@app.command()
def status(only: Only = None, everything: Everything = False) -> None:
    """What would run, and why."""
    from flows.screen import launch

    launch.status(_project(), _choice(None, only, everything), out)


def _choice(targets: list[str] | None, only: list[str] | None, everything: bool) -> "Choice":
    from flows.dvc.choice import Choice

    if only and len(only) > 1:
        raise UserError(f"--only takes one modality, found {', '.join(only)}; run them in turn")
    return Choice(tuple(targets or ()), only[0] if only else None, everything)


@app.command()
def data(
    modality: Annotated[str, typer.Argument(help=", ".join(MODALITIES))],
    path: Annotated[
        str, typer.Argument(help="your folder, `playroom`, or torchvision:NAME such as cifar10")
    ],
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="a table with the columns file, label")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where torchvision's data set lies")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="fetch torchvision's data set")
    ] = False,
) -> None:
    """Point a modality at your own folder: edits params.yaml and shows the change."""
    here = Path.cwd()
    path = edit.named(_project(), modality, path, root and here / root.expanduser(), download)
    source = path if path == edit.PLAYROOM else str(here / Path(path).expanduser())
    table = None if labels is None else here / labels.expanduser()
    change, found = edit.data(_project(), modality, source, table)
    _show(change)
    out.print(f"{escape(found)}\nNow: [bold]glean run[/]")
    if told := _choice(None, None, False).told(load()):
        out.print(told, markup=False, style="dim")


@app.command()
def profile(
    name: Annotated[str | None, typer.Argument(help="its name; none: list them")] = None,
) -> None:
    """Put a ready-made params.yaml in place; yours is kept as params.yaml.bak."""
    root = _project()
    if name is None:
        out.print("\n".join(edit.profiles(root)), markup=False)
        return
    change = edit.profile(root, name)
    _show(change)
    if change:
        out.print(f"Your file is kept as {edit.BACKUP}. Now: [bold]glean run[/]")


@app.command()
def serve(
    cron: Annotated[
        str | None, typer.Option(metavar="SCHEDULE", help='such as "0 3 * * *": daily at 3')
    ] = None,
) -> None:
    """Run on a schedule and on demand, until Ctrl-C."""
    from flows.screen import launch

    launch.serve(_project(), cron, out=out)


@app.command()
def ui(
    stop: Annotated[bool, typer.Option("--stop", help="end the server")] = False,
    open_: Annotated[bool, typer.Option("--open", help="open the browser")] = False,
) -> None:
    """The Prefect server, and a link to its page: whoever has the link can use the page."""
    from flows.prefect import api, lost_runs, server

    root = _project()
    if stop:
        ended = server.stop(root)
        out.print(f"stopped the server on {ended.page}" if ended else "no server was running")
        return
    found = server.ensure(root)
    for line in lost_runs.reap(root, found):
        out.print(line, markup=False)
    out.print(found.link, markup=False)
    if open_:
        typer.launch(api.door(root, found).as_uri())


@app.command()
def report(
    open_: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
) -> None:
    """The report's path."""
    root = _project()
    page = root / reported.PAGE
    if not page.is_file():
        raise UserError(f"{page}: there is no report yet; `glean run` makes it")
    if not reported.of_now(root, load()):
        err.print(f"{page} is not of now: `glean run` renews it", markup=False, style="yellow")
    out.print(str(page), markup=False)
    if open_:
        typer.launch(page.as_uri())


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="a run of params.yaml")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to put it")],
) -> None:
    """The encoder for others: safetensors, config, model card, ONNX."""
    target = Path.cwd() / folder.expanduser()
    _project()
    from importlib import import_module

    import_module("flows.export").export(run, target)
    out.print(str(target), markup=False)


@app.command()
def weights(
    encoder: Annotated[str, typer.Argument(help="such as timm/resnet18 or resnet50")],
    file: Annotated[Path, typer.Argument(help="where to put them, as safetensors")],
) -> None:
    """Download published weights, for a control: see `checkpoints` in params.yaml."""
    target = Path.cwd() / file.expanduser()
    if target.exists():
        raise UserError(f"{target}: there is a file already")
    if target.suffix != ".safetensors":
        raise UserError(f"{target}: expected a name that ends in .safetensors")
    from importlib import import_module

    import_module("modalities.image.published").download(encoder, target)
    out.print(str(target), markup=False)


def _show(change: list[str]) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    if not change:
        out.print("params.yaml stays as it is")
    for line in change:
        out.print(line, markup=False, style=colours.get(line[:1]))


@contextmanager
def _mistakes_are_messages() -> Iterator[None]:
    try:
        yield
    except UserError as mistake:
        err.print(f"error: {mistake}", markup=False, style="red")
        _leave(1)
    except KeyboardInterrupt:
        _leave(130)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.exit(code)


def main() -> None:
    """The console script."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    for name in ("dvc.progress", "dvc_data.callbacks"):  # their bars would cross ours
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _mistakes_are_messages():
        app()


if __name__ == "__main__":
    main()
