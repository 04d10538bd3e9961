"""The stage `ingest`: a source folder in a public format -> arrays and a table, each item once.

A broken item is quarantined with its reason and never stops the rest. What is written depends on
contents, names, labels and options only: not on order, jobs, or what is cached.
"""

import hashlib
import inspect
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities import named
from modalities.items import Item, UserError
from tasks import sources
from tasks.channel import Channel
from tasks.data.dataset import SPLITS, opened
from tasks.ingest import table as item_table
from tasks.ingest.table import Row
from tasks.items.cache import FileIndex, ItemCache, forget
from tasks.items.reading import Array, Outcome, Reading, Stamp, chunks, read_all, stamp
from tasks.stage import output

if TYPE_CHECKING:
    from tasks.settings.params import Machine, Params

CACHE = Path(".gleaner/items")
SHEET = (8, 12)  # lines and columns of the contact sheet
TILE = 64  # pixels of one of its pictures
LINES = 24  # classes that the table of counts shows


def ingest(params: "Params", tell: Channel, modality: str) -> None:
    """Read `source` of a modality into `data/MODALITY`."""
    module: Any = named.reading(modality)
    section = getattr(params, modality)
    source, labels = Path(section.source), Path(section.labels)
    tell.progress(0, "looking for items")
    items: list[Item] = module.find(source, labels)
    if hasattr(module, "describe"):
        tell.log(f"{source}: layout: {module.describe(source, labels)}")
    options = _options(module, section)
    reading = Reading(module.read, source.resolve(), options)
    cache = ItemCache(CACHE / modality / _key(module, options))
    outcomes = _read(reading, items, cache, params.machine, tell)
    rows = item_table.build(items, outcomes)
    ok = [r.sha256 for r in rows if r.status == "ok" and r.sha256]
    if not ok:
        raise UserError(f"{source}: all {len(rows)} items are broken: {_broken(rows)}")
    target = Path("data") / modality
    with output(target) as folder:
        tell.progress(0.96, "writing")
        cache.write_array(folder / "items.npy", ok)
        item_table.write(folder, rows, modality)
        _sheet(module, folder, rows)
        _annotate(module, section, (items, rows), folder, params.machine, tell)
    cache.clean({o.sha256 for o in outcomes.values() if o.sha256})
    forget(CACHE / modality)
    _say(tell, rows)
    tell.picture("contact sheet", target / "contact_sheet.png")
    tell.progress(1, f"{len(ok)} items")


def _options(module: Any, section: Any) -> dict[str, Any]:
    """The reader's keyword-only options that params.yaml has a value for."""
    names = inspect.getfullargspec(module.read).kwonlyargs
    return {name: getattr(section, name) for name in names if hasattr(section, name)}


def _key(module: Any, options: dict[str, Any]) -> str:
    """What decides an item besides its content: the reader's code, its library, its options."""
    code = sources.digest([module.__name__])
    library = getattr(inspect.getmodule(module.read), "LIBRARY", "")
    text = json.dumps([code, library, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(
    reading: Reading, items: list[Item], cache: ItemCache, machine: "Machine", tell: Channel
) -> dict[str, Outcome]:
    """What became of every item; only what is new or changed is opened."""
    index = FileIndex(cache.folder.parent / "files", reading.root)
    outcomes: dict[str, Outcome] = {}
    todo = []
    for item in items:
        now = _stamp(reading.root, item.source)
        sha = index.sha256(item.source, now) if now else None
        if sha in cache.reasons:
            outcomes[item.source] = Outcome(item.source, None, sha, cache.reasons[sha])
        else:
            todo.append((item.source, now[0] if now else 0))
    if cache.damaged:
        tell.warn(f"{cache.damaged} damaged parts of {cache.folder} are read again")
    tell.log(f"{len(items)} items found; {len(todo)} to read, {len(outcomes)} read before")
    done = 0
    for chunk, arrays in read_all(reading, chunks(todo), machine.jobs, machine.dask):
        cache.add(chunk, arrays)
        index.add(chunk)
        outcomes.update((outcome.source, outcome._replace(stamp=None)) for outcome in chunk)
        done += len(chunk)
        tell.progress(0.95 * done / len(todo), f"{done} of {len(todo)} items")
    index.compact([item.source for item in items])
    return outcomes


def _annotate(
    module: Any, section: Any, found: tuple[list[Item], list[Row]], folder: Path,
    machine: "Machine", tell: Channel,
) -> None:  # fmt: skip
    """A modality's optional hook: what richer tasks need of the source, beside items.npy."""
    if not hasattr(module, "annotate"):
        return
    by_name = {item_table.shown(item.source): item for item in found[0]}
    told = [(r.row, by_name[r.source]) for r in found[1] if r.status == "ok"]
    names = inspect.getfullargspec(module.annotate).kwonlyargs
    options = {name: getattr(section, name) for name in names if hasattr(section, name)}
    notes = [(row, item.source, item.extra) for row, item in told]
    module.annotate(
        Path(section.source), notes, folder, jobs=machine.jobs, warn=tell.warn, **options
    )


def _stamp(root: Path, source: str) -> Stamp | None:
    try:
        return stamp(f"{root}/{source}")
    except OSError:
        return None


def _broken(rows: list[Row]) -> str:
    """`2 truncated or damaged (a.png, b.png); 1 empty file (c.png)`."""
    said = []
    for reason, files in item_table.reasons(rows).items():
        more = ", ..." if len(files) > 3 else ""
        said.append(f"{len(files)} {reason} ({', '.join(files[:3])}{more})")
    return "; ".join(said)


def _say(tell: Channel, rows: list[Row]) -> None:
    summary = item_table.summary(rows)
    if summary["quarantined"]:
        text = f"{summary['quarantined']} of {summary['items']} items quarantined: {_broken(rows)}"
        tell.warn(f"{text}; all are named in quarantine.csv")
    if doubled := item_table.conflicts(rows):
        tell.warn(f"{doubled} items stand under two labels with the same content")
    tell.metrics({k: v for k, v in summary.items() if isinstance(v, int)})
    tell.table("items", counts(rows))


def counts(rows: list[Row]) -> list[dict[str, Any]]:
    """Items by class and split, the largest classes first."""
    found = Counter((r.label, r.split) for r in rows if r.status == "ok")
    labels = Counter(r.label for r in rows if r.status == "ok" and r.label is not None)
    names = [name for name, _ in sorted(labels.items(), key=lambda p: (-p[1], p[0]))]
    table = [{"class": n, **{s: found[n, s] for s in SPLITS}} for n in names[:LINES]]
    if rest := names[LINES:]:
        sums = {s: sum(found[n, s] for n in rest) for s in SPLITS}
        table.append({"class": f"{len(rest)} more", **sums})
    if unlabelled := {s: found[None, s] for s in SPLITS if found[None, s]}:
        table.append({"class": "(unlabelled)", **{s: unlabelled.get(s, 0) for s in SPLITS}})
    if quarantined := sum(r.status != "ok" for r in rows):
        table.append({"class": f"(quarantined: {quarantined})", **dict.fromkeys(SPLITS, 0)})
    return table


def _sheet(module: Any, folder: Path, rows: list[Row]) -> None:
    """A line of pictures per class (of the first classes), or of anything."""
    from PIL import Image

    items = opened(folder)
    lines, columns = SHEET
    names: list[str | None] = [*item_table.classes(rows)[:lines]] or [None]
    each = columns if len(names) > 1 else lines * columns
    sheet = Image.new("RGB", (columns * TILE, -(-each // columns) * len(names) * TILE), "white")
    slot = 0
    for name in names:
        chosen = [r.row for r in rows if r.split == "train" and r.label == name][:each]
        pictures: Array = module.thumbnails(items.batch(chosen)["items"])
        for offset, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((TILE, TILE))
            at = slot + offset
            sheet.paste(tile, (at % columns * TILE, at // columns * TILE))
        slot += each
    sheet.save(folder / "contact_sheet.png")
