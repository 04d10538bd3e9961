"""The stage `label`: an off-the-shelf tool's opinion of every item, as free labels.

Items that pretraining may see are labelled, those of the train split; never val or test. What a
labeler says of one item is cached by content, so that adding a shape labels one shape.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modalities import named
from modalities.items import UserError, item
from modalities.labels import Labeler, LabelerInput, Labels
from tasks import sources
from tasks.channel import Channel
from tasks.data import dataset
from tasks.data.free_labels import LABELS
from tasks.items.cache import ItemCache, forget
from tasks.items.reading import Array, Chunk, Done, Outcome, digest, read_all, stamp
from tasks.stage import output, write_json

if TYPE_CHECKING:
    from modalities.base import Labelled
    from tasks.settings.params import Machine, Params

CACHE = Path(".gleaner/labels")


class Labelling(NamedTuple):
    """How items are labelled; a chunk has its items as `ROW:SHA256:SOURCE`."""

    labeler: Labeler
    root: Path  # the source folder
    data: Path  # the folder that ingest left

    def chunk(self, sources: Chunk) -> Done:
        kept = dataset.opened(self.data)
        outcomes, arrays = [], []
        for text in sources:
            row, sha256, source = text.split(":", 2)
            try:
                arrays.append(self.labeler.label(self.root / source, item(kept, int(row))))
                outcomes.append(Outcome(text, None, sha256, None))
            except ValueError as error:
                outcomes.append(Outcome(text, None, sha256, str(error)))
        return outcomes, arrays


def label(params: "Params", tell: Channel, labels: str) -> None:
    """Leaves labels/NAME for the labeler of that name in params.yaml."""
    name = labels
    modality = params.modality_of_labels(name)
    section = params.section(modality)
    chosen = section.choices[name]
    kind = named.method(modality, "labelers", chosen.labeler, Labeler)
    labeler: Labeler = kind(**chosen.options)
    data = Path("data") / modality
    labelling = Labelling(labeler, Path(section.source).resolve(), data.resolve())
    content = [(row, _seen(sha, labeler.beside(labelling.root / source)), source)
               for row, sha, source in _content(data)]  # fmt: skip
    folder = CACHE / f"{modality}-{chosen.labeler}"
    cache = ItemCache(folder / _key(_code(modality, chosen.labeler), kind, chosen.options, section))
    refused = _label(labelling, content, cache, params.machine, tell)
    with output(LABELS / name) as out:
        values, ok = _values(cache, content, out)
        pool = dataset.pool(data)
        found = LabelerInput(
            values, ok, pool.items, pool.labels, pool.classes, out, params.training.seed, tell,
            chosen.run,
        )  # fmt: skip
        tell.progress(0.9, "gathering")
        made = labeler.gather(found)
        _write(out, made, pool, refused)
    cache.clean({sha for _, sha, _ in content})
    forget(folder)
    _show(tell, made, LABELS / name, refused)


def _code(modality: str, labeler: str) -> str:
    return sources.digest(sources.of_labels(modality, labeler))


def _content(data: Path) -> list[tuple[int, str, str]]:
    """(row, sha256, source) of what may be labelled, in the order of `dataset.pool`."""
    columns = dataset.table(data).select(["split", "row", "sha256", "source"]).to_pydict()
    found = zip(columns["split"], columns["row"], columns["sha256"], columns["source"], strict=True)
    return sorted((row, sha, source) for split, row, sha, source in found
                  if split == "train" and row >= 0)  # fmt: skip


def _seen(sha256: str, beside: Path | None) -> str:
    """What a label's content is: that of the item, and of the file beside it if there is one."""
    if beside is None:
        return sha256
    other = digest(beside, stamp(beside))
    return hashlib.sha256(f"{sha256} {other}".encode()).hexdigest()


def _key(code: str, kind: type, chosen: dict[str, Any], section: Any) -> str:
    """What decides an item's label besides its content: code, tools, options."""
    kept = section.model_dump(exclude={"labelers", "runs", "controls", "tasks"})
    told = [code, getattr(sys.modules[kind.__module__], "LIBRARY", ""), chosen, kept]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _label(
    labelling: Labelling, content: list[tuple[int, str, str]], cache: ItemCache,
    machine: "Machine", tell: Channel,
) -> dict[str, str]:  # fmt: skip
    """Label what is new or changed; source -> reason of what the labeler refused."""
    fresh = {sha: f"{row}:{sha}:{source}" for row, sha, source in content}
    todo = [text for sha, text in fresh.items() if sha not in cache.reasons]
    tell.log(f"{len(content)} items; {len(todo)} to label, the rest was labelled before")
    size, done = labelling.labeler.chunk, 0
    chunks = [todo[at : at + size] for at in range(0, len(todo), size)]
    for outcomes, arrays in read_all(labelling, chunks, machine.jobs, machine.dask):
        cache.add(outcomes, arrays)
        done += len(outcomes)
        tell.progress(0.9 * done / len(todo), f"{done} of {len(todo)} items")
    lost = dict.fromkeys(fresh.keys() - cache.reasons, "kills its labeler (or memory ran out)")
    reasons = {**cache.reasons, **lost}
    refused = {source: reason for _, sha, source in content if (reason := reasons[sha])}
    if len(refused) == len(content):
        first = next(iter(refused.items()), ("", "there are no items"))
        raise UserError(f"no item could be labelled; {first[0]}: {first[1]}")
    return refused


def _values(
    cache: ItemCache, content: list[tuple[int, str, str]], out: Path
) -> tuple[Array, Array]:
    """What the labeler said, (N, ...) with zeros where it refused, and (N,) where it did not."""
    ok = np.array([sha in cache.owner and cache.reasons[sha] is None for _, sha, _ in content])
    part = out / "values.npy"
    cache.write_array(part, [sha for (_, sha, _), good in zip(content, ok, strict=True) if good])
    found = np.load(part)
    part.unlink()
    if ok.all():
        return found, ok
    values = np.zeros((len(ok), *found.shape[1:]), found.dtype)
    values[ok] = found
    return values, ok


def _write(out: Path, made: Labels, pool: "Labelled", refused: dict[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(pool.ids)
    for part in (made.values, made.confidence, made.provenance):
        assert len(part) == count, "one label, one confidence, one tool per item"
    np.save(out / "labels.npy", made.values)
    np.save(out / "confidence.npy", made.confidence.astype(np.float32))
    table = pa.table({"id": pool.ids, "tool": list(made.provenance)})
    pq.write_table(table, out / "provenance.parquet")
    digest = hashlib.sha256((out / "labels.npy").read_bytes())
    digest.update((out / "confidence.npy").read_bytes())
    numbers = {"items": count, "refused": len(refused), **made.metrics}
    write_json(out / "metrics.json", numbers | {"fingerprint": digest.hexdigest()[:16]})
    write_json(out / "refused.json", refused)


def _show(tell: Channel, made: Labels, folder: Path, refused: dict[str, str]) -> None:
    if refused:
        first = ", ".join(f"{s}: {r}" for s, r in list(refused.items())[:3])
        tell.warn(f"{len(refused)} items got no label ({first}); all are named in refused.json")
    tell.metrics({k: float(v) for k, v in made.metrics.items()})
    for picture in sorted(folder.glob("*.png")):
        tell.picture(picture.stem.replace("_", " "), picture)
    tell.progress(1, f"{len(made.values)} labels")
