"""`glean`: its options are frozen, a user's mistake is one message, looking is quick."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny
import typer.main
from rich.console import Console

from flows.cli import app
from flows.dvc import graph, reported, selection
from flows.dvc.choice import Choice, chosen
from flows.dvc.graph import Stage
from flows.screen import tables
from flows.screen.terminal import Terminal, duration
from modalities.items import UserError
from tasks.settings.params import MODALITIES, Params, load

FROZEN = {
    "run": {"targets", "--only", "--all", "--force", "--jobs"},
    "status": {"--only", "--all"},
    "data": {"modality", "path", "--labels", "--root", "--download"},
    "weights": {"encoder", "file"},
    "profile": {"name"},
    "serve": {"--cron"},
    "ui": {"--stop", "--open"},
    "report": {"--open"},
    "export": {"run", "folder"},
}


def test_the_options_are_frozen() -> None:
    commands: Any = typer.main.get_command(app)
    found = {
        name: {
            (p.opts[0] if p.opts[0].startswith("-") else p.name)
            for p in command.params
            if p.name != "help"
        }
        for name, command in commands.commands.items()
    }
    assert found == FROZEN


def test_help_and_status_import_nothing_heavy() -> None:
    code = (
        "import sys; import flows.screen.launch, flows.cli; "
        "print([m for m in ('prefect', 'torch', 'dvc', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("cli") / "project")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["run", "pretrian-image-a"], 1, "pretrain-image-a"),
        (["run", "--only", "imgae"], 1, "did you mean 'image'"),
        (["run", "--only", "image", "--only", "audio"], 1, "one modality, found image, audio"),
        (["run", "--jobs", "-1"], 2, "--jobs"),
        (["run", "--onyl", "image"], 2, "--onyl"),
        (["data", "image", "nowhere"], 1, "nowhere"),
        (["data", "imgae", "pictures"], 1, "did you mean 'image'"),
        (["profile", "nothing"], 1, "nothing"),
        (["report"], 1, "no report yet"),
    ],
)
def test_mistakes_are_messages(
    project: Path, arguments: list[str], code: int, expected: str
) -> None:
    done = tiny.glean(project, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr and "Traceback" not in done.stderr


def test_a_broken_params_file_stops_everything(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    try:
        (project / "params.yaml").write_text(before.replace("source", "sauce"))
        for command in ("run", "status", "serve"):
            done = tiny.glean(project, command)
            assert done.returncode == 1
            assert "did you mean 'source'" in done.stderr
    finally:
        (project / "params.yaml").write_text(before)


def test_outside_of_a_project(tmp_path: Path) -> None:
    done = tiny.glean(tmp_path, "status")
    assert done.returncode == 1 and "dvc.yaml" in done.stderr


def test_status_says_why(project: Path) -> None:
    (project / "sub").mkdir(exist_ok=True)
    done = tiny.glean(project / "sub", "status")
    assert done.returncode == 0, done.stderr
    assert "ingest-image" in done.stdout and "never ran" in done.stdout
    assert "6 of 6 stages would run." in done.stdout


PARAMS = """
playroom: {{make: [image], image: {{labelled: 5, unlabelled: 5}}}}
image:
  source: {source}
  labels: {source}
  runs:
    a: {{objective: rotation, batch_size: 64}}
"""


def test_a_batch_above_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.make(tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    Path("params.yaml").write_text(PARAMS.format(source="pictures"))
    with pytest.raises(UserError, match=r"image\.runs\.a\.batch_size: found 64.*1 to 3"):
        selection.check_sizes(load())
    Path("params.yaml").write_text(PARAMS.format(source="nowhere"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        selection.check_sizes(load())


def test_the_playroom_is_counted_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.format(source="raw/playroom/image"))
    monkeypatch.chdir(tmp_path)
    from tasks.playroom.world.toys import categories

    assert selection.item_count(load(), "image") == 10 * len(categories())


def made(**sources: str) -> Params:
    """Parameters of a checkout where these modalities have data of their own."""
    told = {m: {"source": s, "labels": s} for m, s in sources.items()}
    image = {"source": "raw/playroom/image", "labels": "raw/playroom/image"}
    return Params.model_validate({"image": image, **told})


def stage(name: str, *upstream: str) -> Stage:
    return Stage(name, "true", upstream, False, ("never ran",))


def test_only_takes_a_modality_and_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [
        stage("playroom@image"), stage("playroom@sound"), stage("ingest-sound", "playroom@sound"),
        stage("ingest-image", "playroom@image"), stage("label@x", "ingest-sound"),
        stage("pretrain-image@a", "ingest-image", "label@x"), stage("other", "ingest-sound"),
        replace(stage("report", "pretrain-image@a", "other"), meta={"partial": True}),
    ]  # fmt: skip
    monkeypatch.setattr(graph, "plan", lambda *_, **__: stages)
    found = chosen(Path(), Choice(only=MODALITIES[0]), made())
    assert [s.name for s in found] == [s.name for s in stages if s.name != "other"]


def test_the_longest_chain_goes_first(tmp_path: Path) -> None:
    costs = tmp_path / ".gleaner/costs"
    costs.mkdir(parents=True)
    (costs / "c.json").write_text('{"seconds": 9.0}')
    (costs / "a.json").write_text("torn")
    stages = [stage("a"), stage("b"), stage("c", "a"), stage("d", "c", "b")]
    assert selection.urgency(tmp_path, stages) == {"a": 11.0, "b": 2.0, "c": 10.0, "d": 1.0}


def console() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=False)


def row(run: str, protocol: str, budget: int | str, mean: float, **more: Any) -> dict[str, Any]:
    return {
        "modality": "image", "run": run, "task": "classification", "protocol": protocol,
        "objective": run if run == "moco" else None,
        "budget": budget, "metric": "accuracy", "draws": 5, "higher_is_better": True,
        "mean": mean, "low": mean - 0.02, "high": mean + 0.02, **more,
    }  # fmt: skip


def test_the_table_shows_what_validation_prefers() -> None:
    rows = [
        row("mfcc", "mfcc", 1, 0.20),
        row("moco", "linear", 1, 0.50, chosen={"val": 0.4}),
        row("moco", "knn", 1, 0.40, chosen={"val": 0.6}),
        row("moco", "knn", 10, 0.70, chosen={"val": 0.6}),
        row("majority", "majority", 1, 0.10),
        row("majority", "majority", "all", 0.10, draws=1),
    ]
    out = console()
    for title, table in tables.tables(rows):
        out.print(title)
        out.print(table)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "knn" in text and "linear" not in text, "the test figures must not choose"
    assert "40.0 ±2.0" in text and "70.0 ±2.0" in text and "10.0 ±2.0" in text
    lines = text.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert [x.split()[0] for x in lines[2:] if x.strip()] == ["moco", "mfcc", "majority"]
    assert lines[1].split()[-3:] == ["1", "10", "all"]


def test_without_validation_figures_every_protocol_stays() -> None:
    rows = [row("moco", "linear", 1, 0.5), row("moco", "knn", 1, 0.4)]
    assert len(tables.lines(rows)) == 2


def test_what_was_skipped_is_told_once() -> None:
    entry = {"modality": "image", "task": "classification", "budget": 50, "reason": "9 in b"}
    told = tables.skipped([{**entry, "run": "a"}, {**entry, "run": "b"}])
    assert told == ["skipped: image classification, budget 50: 9 in b"]


def test_quarantine_is_told() -> None:
    told = tables.quarantine(
        {"quarantine": [{"modality": "image", "count": 3, "reasons": {"truncated": 2, "empty": 1}}]}
    )
    assert told == ["image: 3 files quarantined (1 empty, 2 truncated)"]


def test_a_summary_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert reported.summary(tmp_path) is None
    (tmp_path / "report").mkdir()
    for text in ("", "{", "[]"):
        (tmp_path / reported.SUMMARY).write_text(text)
        assert reported.summary(tmp_path) is None
    (tmp_path / reported.SUMMARY).write_text(json.dumps({"version": 1}))
    assert reported.summary(tmp_path) == {"version": 1}


def test_plain_lines_are_throttled() -> None:
    out = console()
    with Terminal(out) as terminal:
        terminal.planned(["a", "b"])
        terminal.begin("a")
        terminal._next["a"] = 0.0
        for step in range(100):
            terminal.message("a", {"kind": "progress", "fraction": step / 100, "eta": 70.0})
        terminal.line("a", "an ordinary line")
        terminal.line("a", "warning: [odd] thing")
        terminal.end("a", "ran", 65.0, "")
        terminal.end("b", "failed", 1.0, "b failed: [x]")
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("ETA 1 min 10 s") == 1
    assert "ordinary" not in text and "warning: [odd] thing" in text
    assert "✓ a  1 min 05 s" in text and "✗ b  b failed: [x]" in text
    assert terminal.failed() == ["b failed: [x]"] and terminal.told() == "1 ran, 1 failed"


def test_durations() -> None:
    assert [duration(s) for s in (0.04, 59.9, 60, 3599)] == [
        "0.0 s", "59.9 s", "1 min 00 s", "59 min 59 s",
    ]  # fmt: skip


def test_the_playroom_of_every_modality_can_be_counted():
    params = load(Path(__file__).resolve().parents[2] / "params.yaml")
    for modality in MODALITIES:
        assert selection.item_count(params, modality) > 100
