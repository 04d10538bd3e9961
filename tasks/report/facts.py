"""Everything the page is made from, read once.

Shapes: N items kept by ingest, n of them.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modalities.items import Items
from tasks.provenance import Now
from tasks.report.drawn import Drawn, find
from tasks.results import ExpectedResult, LeftOut, current, left_out, modality_of, read
from tasks.settings.params import MODALITIES, Params
from tasks.stage import cost_file, read_json

SPLITS = ("train", "val", "test")
CHART = "accuracy.png"  # of scores against labels, beside a result: the page has its own
ORDER = ("image", "video", "audio", "shape", "text")  # of the sections; any other comes last


@dataclass(frozen=True)
class Data:
    """One ingested modality; `split`, `label` and `row` are columns of the items that are ok."""

    modality: str
    classes: list[str]
    fingerprint: str
    split: list[str]
    label: list[str | None]
    row: list[int]
    quarantine: list[tuple[str, str]]  # file, reason
    items: Items | None  # by `row`; None without any item

    def raw(self, positions: Sequence[int]) -> Any:
        """Some of the items as ingest kept them, (n, ...)."""
        assert self.items is not None, "there are positions: there are items"
        return self.items.batch([self.row[at] for at in positions])["items"]

    @property
    def reasons(self) -> dict[str, int]:
        """How many items each reason took, most frequent first."""
        tally = Counter(reason for _, reason in self.quarantine)
        return dict(sorted(tally.items(), key=lambda pair: (-pair[1], pair[0])))

    def counts(self) -> dict[str, Counter[str | None]]:
        """Per split how many items each class has; None: no label."""
        tally: dict[str, Counter[str | None]] = {split: Counter() for split in SPLITS}
        for split, label in zip(self.split, self.label, strict=True):
            tally.setdefault(split, Counter())[label] += 1
        return tally

    def where(self, splits: tuple[str, ...], labelled: bool | None = None) -> list[int]:
        """Positions of the items of some splits; with a label, without, or either."""
        return [
            i
            for i, (split, label) in enumerate(zip(self.split, self.label, strict=True))
            if split in splits and labelled in (None, label is not None)
        ]


@dataclass(frozen=True)
class Trained:
    """One pretraining run: what it was, how it went."""

    name: str
    modality: str
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    curves: dict[str, list[tuple[float, float]]]  # (step, value)
    drawn: Drawn


@dataclass(frozen=True)
class Free:
    """One set of free labels: which tool made it, how, and who learns from it."""

    name: str
    modality: str
    folder: Path
    labeler: str
    options: dict[str, Any]
    metrics: dict[str, Any]
    runs: list[str]
    drawn: Drawn


@dataclass(frozen=True)
class Facts:
    """All of it."""

    params: Params
    data: dict[str, Data]
    runs: list[Trained]
    rows: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    asked: list[str] = field(default_factory=list)  # runs in params.yaml, of what there is data of
    free: list[Free] = field(default_factory=list)
    drawn: list[tuple[ExpectedResult, Drawn]] = field(default_factory=list)  # beside results
    stale: list[dict[str, Any]] = field(default_factory=list)  # of what is not of now: nothing else
    left_out: list[LeftOut] = field(default_factory=list)  # the same for people

    @property
    def left(self) -> list[Drawn]:
        """All that stages drew."""
        of_results = [drawn for _, drawn in self.drawn]
        return [run.drawn for run in self.runs] + [free.drawn for free in self.free] + of_results

    def part(self, *, demonstration: bool) -> "Facts":
        """What is the user's own, or what the Playroom demonstrates beside it."""
        made = self.params.demonstration

        def kept(modality: str) -> bool:
            return (modality in made) == demonstration

        return replace(
            self,
            data={name: data for name, data in self.data.items() if kept(name)},
            runs=[run for run in self.runs if kept(run.modality)],
            free=[free for free in self.free if kept(free.modality)],
            rows=[row for row in self.rows if row["demonstration"] == demonstration],
            skipped=[each for each in self.skipped if each["demonstration"] == demonstration],
            drawn=[(p, drawn) for p, drawn in self.drawn if p.demonstration == demonstration],
            stages=[each for each in self.stages if kept(modality_of(each["stage"]))],
        )


def gather(params: Params) -> Facts:
    """Read what the stages left, as far as it is there and of now; the demonstration comes last."""
    now, known = Now(params), in_order(MODALITIES)
    data = {m: found for m in known if now.current(f"ingest-{m}") and (found := _data(m))}
    named = [(m, run) for m in known for run in params.section(m).runs]
    fresh = [(m, run) for m, run in named if now.current(f"pretrain-{m}@{run}")]
    runs = [made for m, run in fresh if (made := _trained(m, run))]
    free = [made for m in known for made in _free(params, now, m)]
    rows, skipped = read(params, now)
    rows.sort(key=lambda row: (row["demonstration"], known.index(row["modality"])))
    # A modality without data was not asked for (--only), unless there is nothing at all.
    asked = [run for m, run in fresh if m in data or not data]
    places = current(params, now)
    drawn = [(place, find(place.folder, but=CHART)) for place in places]
    stages = _stages(params, now, places)
    apart = now.stale(), left_out(now)
    return Facts(params, data, runs, rows, skipped, stages, asked, free, drawn, *apart)


def in_order(modalities: Iterable[str]) -> list[str]:
    """As the page has them."""
    return sorted(modalities, key=lambda m: ORDER.index(m) if m in ORDER else len(ORDER))


def _data(modality: str) -> Data | None:
    folder = Path("data") / modality
    if not (folder / "items.parquet").exists():
        return None
    import pyarrow.parquet as pq

    from tasks.data.dataset import opened

    wanted = ["split", "label", "row", "status"]
    columns = pq.read_table(folder / "items.parquet", columns=wanted).to_pydict()
    ok = [i for i, status in enumerate(columns["status"]) if status == "ok"]
    split, label, row = ([columns[name][i] for i in ok] for name in wanted[:3])
    meta = read_json(folder / "meta.json") or {}
    items = opened(folder) if ok else None
    classes = meta.get("classes") or sorted({name for name in label if name is not None})
    fingerprint = str(meta.get("fingerprint", ""))
    refused = _quarantine(folder / "quarantine.csv")
    return Data(modality, classes, fingerprint, split, label, row, refused, items)


def _quarantine(path: Path) -> list[tuple[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [(line["file"], line["reason"]) for line in csv.DictReader(file)]


def _trained(modality: str, name: str) -> Trained | None:
    folder = Path("models") / name
    config = read_json(folder / "config.json")
    if config is None:
        return None
    metrics = read_json(folder / "metrics.json") or {}
    drawn = find(folder / "pictures")
    return Trained(name, modality, folder, config, metrics, _curves(folder), drawn)


def _free(params: Params, now: Now, modality: str) -> list[Free]:
    """What labelers of a modality left."""
    found, section = [], params.section(modality)
    for name, choice in section.choices.items():
        folder = Path("labels") / name
        metrics = read_json(folder / "metrics.json")
        if metrics is not None and now.current(f"label-{modality}@{name}"):
            runs = [run for run, made in section.runs.items() if _taught_by(made) == name]
            kind, chosen = choice.labeler, choice.options
            found.append(Free(name, modality, folder, kind, chosen, metrics, runs, find(folder)))
    return found


def _taught_by(run: Any) -> str | None:
    """The labels that a run learns from; None where its modality has no labelers."""
    return getattr(run, "labels", None)


def _curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """DVCLive's tables: a first column `step` and one column of values each."""
    top = folder / "plots" / "metrics"
    curves = {}
    for path in sorted(top.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        points = [_point(line) for line in lines]
        kept = [(step, value) for step, value in points if abs(value) < float("inf")]
        if len(kept) > 1:
            curves[path.relative_to(top).with_suffix("").as_posix()] = kept
    return curves


def _point(line: dict[str, str]) -> tuple[float, float]:
    names = [name for name in line if name not in ("step", "timestamp")]
    return float(line["step"]), float(line[names[0]] or "nan") if names else float("nan")


def _stages(params: Params, now: Now, places: list[ExpectedResult]) -> list[dict[str, Any]]:
    """Every stage whose output is there and of now: what it cost, where it was computed here."""
    known = [(f"playroom@{m}", Path("raw/playroom") / m) for m in params.playroom.make]
    for modality in MODALITIES:
        known.append((f"ingest-{modality}", Path("data") / modality))
        section = params.section(modality)
        known += [(f"label-{modality}@{n}", Path("labels") / n) for n in section.choices]
        runs = section.runs
        known += [(f"pretrain-{modality}@{run}", Path("models") / run) for run in runs]
    known += [(place.stage, place.folder) for place in _by_run(places)]
    return [_cost(stage) for stage, folder in known if folder.exists() and now.current(stage)]


def _by_run(found: list[ExpectedResult]) -> list[ExpectedResult]:
    return sorted(found, key=lambda place: place.control)


def _cost(stage: str) -> dict[str, Any]:
    cost = read_json(cost_file(stage))
    if cost is None:
        return {"stage": stage, "state": "restored", "seconds": None, "peak_mb": None}
    seconds, peak = cost["seconds"], cost["peak_mb"]
    return {"stage": stage, "state": "ran", "seconds": seconds, "peak_mb": peak}
