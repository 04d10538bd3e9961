"""From items and what became of them to the files that ingest leaves: splits, ids, rows, counts.

Everything here is a function of contents, labels and names, never of order, time or machine.
"""

import csv
import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modalities.items import Item
from tasks.data.dataset import SPLITS
from tasks.items.reading import Outcome
from tasks.stage import write_json

SHARES = {"test": 0.2, "val": 0.1}  # of a class, where the source has no such split
GROUP = 8192  # rows written at a time
STRICT = ("test", "val", "train")  # a content that lies in two splits is never trained on


@dataclass(slots=True)
class Row:
    """One line of items.parquet."""

    id: str
    split: str | None
    label: str | None
    source: str
    sha256: str | None
    status: str
    reason: str | None
    row: int
    extra: str | None


def shown(source: str) -> str:
    """A path as valid text, whatever bytes its name is made of."""
    return source.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def build(items: list[Item], outcomes: dict[str, Outcome]) -> list[Row]:
    """The table: by split, labelled first, then by content; quarantined items last."""
    read = [(item, outcomes[item.source]) for item in items]
    ok = [(i, o.sha256) for i, o in read if o.reason is None and o.sha256]
    splits = split_contents((sha, i.label, i.split) for i, sha in ok)
    rows = [_row(i, o, splits.get(o.sha256) if o.sha256 else None) for i, o in read]
    rows.sort(key=lambda r: (r.sha256 or "", r.source))
    copies: Counter[str] = Counter()
    for row in rows:
        copies[row.id] += 1
        if copies[row.id] > 1:
            row.id = f"{row.id}-{copies[row.id]}"
    rows.sort(key=_order)
    for number, row in enumerate(rows):
        row.row = number if row.status == "ok" else -1
    return rows


def _row(item: Item, outcome: Outcome, split: str | None) -> Row:
    source = shown(item.source)
    sha256 = outcome.sha256 or hashlib.sha256(source.encode()).hexdigest()
    extra = json.dumps(item.extra, sort_keys=True) if item.extra else None
    status = "ok" if outcome.reason is None else "quarantined"
    return Row(
        id=sha256[:16], split=split, label=item.label, source=source, sha256=outcome.sha256,
        status=status, reason=outcome.reason, row=-1, extra=extra,
    )  # fmt: skip


def _order(row: Row) -> tuple[Any, ...]:
    if row.split is None:
        return (len(SPLITS), row.source)
    return (SPLITS.index(row.split), row.label is None, row.sha256, row.source)


def split_contents(found: Iterable[tuple[str, str | None, str | None]]) -> dict[str, str]:
    """(sha256, label, split or None) of each item -> split of each content.

    The source's own splits hold; those it lacks are cut, class by class, from what it trains on.
    Exact copies always share a split; unlabelled contents that have none are trained on.
    """
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    contents: set[str] = set()
    for sha, label, split in found:
        contents.add(sha)
        if label is not None:
            labels[sha] = min(label, labels.get(sha, label))
        if split is not None:
            splits[sha] = min(split, splits.get(sha, split), key=STRICT.index)
    present = {splits[sha] for sha in labels if sha in splits}
    shares = {name: share for name, share in SHARES.items() if name not in present}
    classes = defaultdict(list)
    for sha in sorted(labels):
        if splits.get(sha, "train") == "train":
            classes[labels[sha]].append(sha)
    for members in classes.values():
        splits.update(_cut(members, shares))
    return {sha: splits.get(sha, "train") for sha in contents}


def _cut(members: list[str], shares: dict[str, float]) -> dict[str, str]:
    """The first of a class's contents, ordered by sha256, go to the splits that are missing."""
    if len(members) < 3:
        return {}
    start, cut = 0, {}
    for name, share in shares.items():
        size = max(1, int(share * len(members) + 0.5))
        cut.update(dict.fromkeys(members[start : start + size], name))
        start += size
    return cut


def classes(rows: list[Row]) -> list[str]:
    return sorted({r.label for r in rows if r.status == "ok" and r.label is not None})


def reasons(rows: list[Row]) -> dict[str, list[str]]:
    """Reason without its detail -> the sources it befell, most frequent first."""
    found = defaultdict(list)
    for row in rows:
        if row.reason is not None:
            found[row.reason.split(":", 1)[0]].append(row.source)
    return dict(sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def summary(rows: list[Row]) -> dict[str, Any]:
    """`metrics.json`."""
    ok = [r for r in rows if r.status == "ok"]
    return {
        "items": len(rows),
        "ok": len(ok),
        "quarantined": len(rows) - len(ok),
        "labelled": sum(r.label is not None for r in ok),
        "classes": len(classes(rows)),
        "reasons": {reason: len(sources) for reason, sources in reasons(rows).items()},
    }


def meta(rows: list[Row], modality: str) -> dict[str, Any]:
    """`meta.json`; the fingerprint knows contents, labels and splits, no names."""
    ok = [r for r in rows if r.status == "ok"]
    counts = {
        split: {
            "labelled": sum(r.split == split and r.label is not None for r in ok),
            "unlabelled": sum(r.split == split and r.label is None for r in ok),
        }
        for split in SPLITS
    }
    fingerprint = hashlib.sha256()
    for row in sorted(ok, key=lambda r: (r.sha256 or "", r.label or "", r.label is None)):
        fingerprint.update(json.dumps([row.sha256, row.label, row.split]).encode())
    return {"modality": modality, "classes": classes(rows), "counts": counts,
            "fingerprint": fingerprint.hexdigest()}  # fmt: skip


def write(folder: Path, rows: list[Row], modality: str) -> None:
    """Everything but items.npy."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.int64() if name == "row" else pa.string() for name in Row.__annotations__}
    with pq.ParquetWriter(folder / "items.parquet", pa.schema(kinds)) as table:
        for start in range(0, len(rows), GROUP):
            part = rows[start : start + GROUP]
            columns = {name: [getattr(r, name) for r in part] for name in kinds}
            table.write_table(pa.table(columns, schema=pa.schema(kinds)))
    with (folder / "quarantine.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["file", "reason"])
        out.writerows((r.source, r.reason) for r in rows if r.reason is not None)
    write_json(folder / "meta.json", meta(rows, modality))
    write_json(folder / "metrics.json", summary(rows))


def conflicts(rows: list[Row]) -> int:
    """How many contents stand under two labels."""
    found = defaultdict(set)
    for row in rows:
        if row.status == "ok" and row.label is not None:
            found[row.sha256].add(unicodedata.normalize("NFC", row.label))
    return sum(len(labels) > 1 for labels in found.values())
