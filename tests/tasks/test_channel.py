"""What a stage says, what of it is believed, and what of it a page or a terminal gets to see."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flows.dvc import graph
from flows.dvc.graph import Stage
from flows.dvc.private import Call
from flows.kills import process
from flows.prefect import messages
from flows.prefect.artifacts import PIXELS, Publisher
from flows.prefect.stage_task import StageTask
from flows.prefect.watch import Nobody, follow
from flows.screen.terminal import Screen
from tasks.channel import MARK, MOST, VARIABLE, Channel, say_mistake, split, visible

STAGE = Stage("ingest-image", "true", (), False, (), outs=("data/image", "sheet.png"))
GOOD: list[dict[str, Any]] = [
    {"kind": "progress", "fraction": 0.5, "text": "half", "eta": 3.5},
    {"kind": "progress", "fraction": 1.0, "text": "", "eta": None},
    {"kind": "metrics", "values": {"loss": 0.5, "items": 3}},
    {"kind": "table", "name": "items", "rows": [{"class": "a", "n": 3, "x": None, "ok": True}]},
    {"kind": "picture", "name": "contact sheet", "path": "data/image/sheet.png"},
]
BAD = {
    "no JSON": "{",
    "cut off": json.dumps(GOOD[0])[:-1],
    "two": json.dumps(GOOD[0]) * 2,
    "a list": "[]",
    "a number": "1",
    "no kind": '{"fraction": 1}',
    "an unknown kind": '{"kind": "run", "command": "true"}',
    "a kind that is no text": '{"kind": {}}',
    "no fraction": '{"kind": "progress"}',
    "a fraction in words": '{"kind": "progress", "fraction": "0.5"}',
    "no number": '{"kind": "progress", "fraction": NaN}',
    "too far": '{"kind": "progress", "fraction": 1.5}',
    "without end": '{"kind": "progress", "fraction": 0.5, "eta": Infinity}',
    "for ages": '{"kind": "progress", "fraction": 0.5, "eta": 1e300}',
    "more than is known": '{"kind": "progress", "fraction": 0.5, "html": "<script>"}',
    "figures in a list": '{"kind": "metrics", "values": [1]}',
    "figures that are texts": '{"kind": "metrics", "values": {"loss": "1"}}',
    "rows in an object": '{"kind": "table", "name": "a", "rows": {"a": 1}}',
    "a cell with cells": '{"kind": "table", "name": "a", "rows": [{"a": {"b": 1}}]}',
    "no path": '{"kind": "picture", "name": "a"}',
    "deep": '{"kind": "table", "name": "a", "rows": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "digits": '{"kind": "metrics", "values": {"loss": ' + "9" * 5000 + "}}",
    "long": json.dumps({"kind": "picture", "name": "a", "path": "a" * MOST}),
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines that a stage with a channel writes to stdout."""

    def run(*calls: tuple[Any, ...], token: str = "t0ken") -> list[str]:
        out = io.TextIOWrapper(io.BytesIO(), "utf-8")
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setenv(VARIABLE, token)
        tell = Channel("ingest-image")
        for name, *arguments in calls:
            getattr(tell, name)(*arguments)
        monkeypatch.undo()
        out.seek(0)
        return out.read().split("\n")[:-1]

    return run


# ------------------------------------------------------------------------------------ what is said


def test_what_is_sent_is_read(told: Callable[..., list[str]]) -> None:
    lines = told(
        ("progress", 0.25, "a\nb"),
        ("metrics", {"loss": 1.5}),
        ("table", "items", [{"file": "a\x1b.png"}]),
        ("picture", "sheet", Path("data/sheet.png")),
    )
    found = [messages.read(message or "") for _, message in (split(x, "t0ken") for x in lines)]
    eta = found[0].pop("eta")
    assert eta >= 0 and found == [
        {"kind": "progress", "fraction": 0.25, "text": r"a\nb"},
        {"kind": "metrics", "values": {"loss": 1.5}},
        {"kind": "table", "name": "items", "rows": [{"file": r"a\x1b.png"}]},
        {"kind": "picture", "name": "sheet", "path": "data/sheet.png"},
    ]


def test_names_in_log_lines_stay_in_their_line(told: Callable[..., list[str]]) -> None:
    name = 'a\n\x1et0ken{"kind": "progress"}\r\u2028\x85\udcff\u202egnp.\x1b[2J'
    lines = told(("log", f"read {name}"), ("warn", f"cannot read {name}"))
    shown = r'a\n\x1et0ken{"kind": "progress"}\r\u2028\x85\udcff\u202egnp.\x1b[2J'
    assert lines == [f"read {shown}", f"warning: cannot read {shown}"]
    assert [split(line, "t0ken")[1] for line in lines] == [None, None]


def test_names_that_are_not_utf8_can_be_told(told: Callable[..., list[str]]) -> None:
    line = told(("table", "items", [{"file": os.fsdecode(b"\xff.png")}]))[0]
    assert messages.read(split(line, "t0ken")[1] or "")["rows"] == [{"file": r"\udcff.png"}]


def test_a_message_that_is_too_long_is_not_sent(told: Callable[..., list[str]]) -> None:
    lines = told(("table", "items", [{"file": "a" * MOST}]))
    assert lines == ["warning: a message of kind table is too long to be shown"]


def test_a_mistake_keeps_its_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    say_mistake(ValueError("a.png: bad\nb\x1b[2J.png: bad"))
    assert capsys.readouterr().err == "error: a.png: bad\nb\\x1b[2J.png: bad\n"


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("été 1.png", "写真.png", "a\u202fb.png", "\U0001f469\u200d\U0001f52c.png", "a\\n"):
        assert visible(name) == name


def test_only_the_token_makes_a_message() -> None:
    message = json.dumps(GOOD[0])
    for line in (message, MARK + message, f"{MARK}t0kem{message}", f"t0ken{message}", ""):
        assert split(line, "t0ken") == (line, None)
        assert split(line, "") == (line, None), "nobody asked for messages"
    assert split(f"50 %|##{MARK}t0ken{message}", "t0ken") == ("50 %|##", message)


# ------------------------------------------------------------------------------- what is believed


@pytest.mark.parametrize("message", GOOD)
def test_good_messages(message: dict[str, Any]) -> None:
    assert messages.read(json.dumps(message)) == message


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_messages(text: str) -> None:
    with pytest.raises(ValueError):
        messages.read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(
    st.sampled_from(["progress", "metrics", "table", "picture"]),
    st.dictionaries(st.sampled_from(["fraction", "eta", "values", "name", "rows", "path"]), JSON),
)
def test_whatever_comes_is_a_message_or_a_value_error(kind: str, body: dict[str, Any]) -> None:
    try:
        found = messages.read(json.dumps({"kind": kind, **body}))
    except ValueError:
        return
    page = publisher(Path())
    page.message(found)
    assert "picture" in page.broken or not page.broken


def body_of(lines: list[str]) -> tuple[list[str], list[Any]]:
    """The log of a stage that writes `lines`, and the messages that were believed."""

    class Listener(Nobody):
        def message(self, stage: str, message: dict[str, Any]) -> None:
            heard.append(message)

    heard: list[Any] = []
    log = io.StringIO()
    body = StageTask(Path(), STAGE, False, False, None)
    page = SimpleNamespace(message=lambda message: None)
    follow(Listener())
    try:
        for line in lines:
            body._line(line.replace("TOKEN", body.token), log, page, SimpleNamespace(line=str))  # type: ignore[arg-type]
    finally:
        follow(Nobody())
    return log.getvalue().splitlines(), heard


def test_bad_messages_are_left_out_with_one_warning() -> None:
    good = json.dumps(GOOD[2])
    lines = ["begun", *(f"{MARK}TOKEN{bad}" for bad in BAD.values()), f"{MARK}TOKEN{good}", "done"]
    log, heard = body_of(lines)
    assert heard == [GOOD[2]]
    assert [log[0], log[-1]] == ["begun", "done"] and len(log) == 3
    assert log[1].startswith("warning: a message of the stage is left out: ")


def test_a_line_without_its_end_hides_no_message() -> None:
    log, heard = body_of([f"\x1b[32m50 %\x1b[0m\x07{MARK}TOKEN{json.dumps(GOOD[2])}"])
    assert (log, heard) == ([r"50 %\x07"], [GOOD[2]])


def test_each_stage_has_a_token_of_its_own() -> None:
    tokens = {StageTask(Path(), STAGE, False, False, None).token for _ in range(100)}
    assert len(tokens) == 100 and all(len(token) == 32 for token in tokens)


def test_messages_are_no_part_of_a_failures_last_words() -> None:
    call = Call(Path(), "a", str, {VARIABLE: "t0ken"}, None)
    for line in ("begun", f"{MARK}t0ken{{}}", f"half{MARK}t0ken{{}}", f'{MARK}{{"kind": 1}}', ""):
        call.line(line)
    assert list(call.tail) == ["begun", "half", f'{MARK}{{"kind": 1}}', ""]


def test_a_failures_last_words_move_no_cursor() -> None:
    body = StageTask(Path(), STAGE, False, False, None)
    failure = graph.StageFailed("a", 3, "\x1b[31merror: a\x1b]0;b\x07\x85.png: bad\x1b[0m\nend")
    assert r"failed with exit code 3: a\x1b]0;b\x07\x85.png: bad (full" in body._reason(failure)


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    lines: list[str] = []
    code = f"import sys; sys.stdout.write('a' * {3 * process.LONGEST + 1} + '\\nb\\n')"
    process.run([sys.executable, "-c", code], lines.append, tmp_path, dict(os.environ))
    assert [len(line) for line in lines] == [*3 * [process.LONGEST], 1, 1]


# --------------------------------------------------------------------------------- what a page has


def publisher(root: Path) -> Publisher:
    """One whose server keeps what it is given in `published`."""
    found = Publisher(STAGE, root, None, uuid4())
    found.published = []  # type: ignore[attr-defined]

    def keep(artifact: Any) -> Any:
        found.published.append(artifact.data)  # type: ignore[attr-defined]
        json.dumps(artifact.data, allow_nan=False)
        return SimpleNamespace(id=uuid4())

    found._client = SimpleNamespace(create_artifact=keep)  # type: ignore[assignment]
    return found


def picture(root: Path, path: str | Path) -> tuple[str, int]:
    """What is wrong with a picture's message, and how many pictures the page got."""
    page = publisher(root)
    page.message({"kind": "picture", "name": "a", "path": str(path)})
    return page.broken, len(page.published)  # type: ignore[attr-defined]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for folder in ("data/image", "data/image/deep", "data/image2", "pictures"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(root / folder / "a.png")
    Image.new("RGB", (9, 9)).save(root / "sheet.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    return root


def test_pictures_that_the_stage_made(project: Path) -> None:
    Image.new("L", (9, 9)).save(project / "data/image/a.jpeg")
    (project / "data/image/link.png").symlink_to("a.png")
    inside = ["a.png", "a.jpeg", "deep/a.png", "deep/../a.png", "link.png"]
    for path in ["sheet.png", project / "sheet.png", *(f"data/image/{name}" for name in inside)]:
        assert picture(project, path) == ("", 1)


def test_pictures_from_elsewhere(project: Path, tmp_path: Path) -> None:
    (project / "data/image/out.png").symlink_to(tmp_path / "a.png")
    (project / "data/image/up").symlink_to(project / "pictures")
    (project / "data/image/self.png").symlink_to("self.png")
    os.mkfifo(project / "data/image/fifo.png")
    inside = ["", "none.png", "out.png", "up/a.png", "self.png", "fifo.png", "../../pictures/a.png"]
    elsewhere = [tmp_path / "a.png", "../a.png", "pictures/a.png", "data/image2/a.png", ".", ""]
    for path in [*elsewhere, *(f"data/image/{name}" for name in inside)]:
        broken, published = picture(project, path)
        assert published == 0
        assert "is no file in what the stage writes" in broken or "self.png" in broken


def test_an_output_that_is_a_link_out_of_the_project(project: Path, tmp_path: Path) -> None:
    (project / "sheet.png").unlink()
    (project / "sheet.png").symlink_to(tmp_path / "a.png")
    assert picture(project, "sheet.png")[1] == 0


def test_files_that_are_no_pictures_of_ours(project: Path) -> None:
    folder = project / "data/image"
    Image.new("RGB", (9, 9)).save(folder / "a.gif")
    (folder / "a.gif").rename(folder / "gif.png")
    (folder / "text.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (10_000, PIXELS // 10_000 + 1)).save(folder / "large.png")
    for name in ("gif.png", "text.png", "cut.png", "large.png"):
        broken, published = picture(project, f"data/image/{name}")
        assert broken and published == 0, name
    assert "pixels" in broken


def test_a_page_gets_no_number_that_json_does_not_have(tmp_path: Path) -> None:
    page = publisher(tmp_path)
    page.message({"kind": "metrics", "values": {"a": float("nan"), "b": float("inf"), "c": 0.5}})
    rows = json.loads(page.published[0])  # type: ignore[attr-defined]
    assert [row["value"] for row in rows] == [None, None, 0.5]


# ----------------------------------------------------------------------------- what a terminal has


def test_nothing_printed_is_obeyed_by_a_terminal() -> None:
    out = Screen(file=io.StringIO(), force_terminal=True, highlight=False, soft_wrap=True)
    out.print("\x1b[2J\x9b2J\x07\x1b]0;owned\x07\r [bold]a\nb", markup=False, style="red")
    text = out.file.getvalue()  # type: ignore[attr-defined]
    shown = r"\x1b[2J\x9b2J\x07\x1b]0;owned\x07\r [bold]a"
    assert text == f"\x1b[31m{shown}\x1b[0m\n\x1b[31mb\x1b[0m\n"
