"""Items of any kind go through the engine, the measuring code and what is kept of a run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from training_world import make
from training_world import params as project

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.common.measuring.classification import measure
from modalities.common.measuring.frozen import FrozenFeatures, Setting
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Subset, problem
from modalities.common.measuring.rows import Row
from modalities.common.steps.precompute import precomputed
from modalities.common.training.batches import WINDOW, Order, Rows, loader, shuffled
from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.loop import Plan, train
from modalities.common.training.monitor import Silence
from modalities.items import Arrays, Items, Labelled, item
from tasks.data import dataset
from tasks.pretrain import _fingerprint

CODES, END = 40, 0  # tokens are 1 to 39; 0 is what comes after the last one


@dataclass(frozen=True)
class Ragged:
    """Texts of different lengths: all tokens one after the other, and where each text begins."""

    tokens: Any  # (T,) uint16
    ends: Any  # (N + 1,) int64: text i is tokens[ends[i]:ends[i + 1]]
    near: int | None = None

    def __len__(self) -> int:
        return len(self.ends) - 1

    def batch(self, rows: Any) -> dict[str, np.ndarray]:
        rows = np.asarray(rows)
        start, lengths = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        items = np.full((len(rows), lengths.max(initial=0)), END, np.uint16)
        for i, (at, length) in enumerate(zip(start, lengths, strict=True)):
            items[i, :length] = self.tokens[at : at + length]
        return {"items": items, "lengths": lengths}

    def part(self, start: int, stop: int) -> "Ragged":
        return replace(self, ends=self.ends[start : stop + 1])

    def digest(self) -> str:
        whole = self.tokens[self.ends[0] : self.ends[-1]]
        return Arrays(np.asarray(whole)).digest() + Arrays(self.ends - self.ends[0]).digest()


class Words(Encoder):
    """The mean of what stands for the tokens of a text."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.codes = nn.Embedding(CODES, dim)

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        return self.codes(x)

    def forward(self, x: Tensor) -> Tensor:
        known = (x != END)[..., None]
        return (self.tokens(x) * known).sum(1) / known.sum(1).clamp(min=1)


class Hidden(Objective):
    """Say a token of a text from the mean of all of them."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, CODES)
        self.seen: list[list[int]] = []  # rows, step by step

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        items, lengths = prepare(batch["items"]), batch["lengths"]
        assert ((items != END).sum(1) == lengths).all()
        self.seen.append(batch["index"].tolist())
        which = (rng.uniform() * lengths).long()
        return {"x": items, "target": items.gather(1, which[:, None])[:, 0]}

    def forward(self, batch: Batch) -> Step:
        return Step(F.cross_entropy(self.head(self.encoder(batch["x"])), batch["target"]))


def prepare(items: Tensor) -> Tensor:
    return items.long()


def setting(**more: Any) -> Setting:
    return Setting(prepare, lambda items, rng: prepare(items), "fp32", "cpu", **more)


def texts(count: int, seed: int, folder: Path, near: int | None = None) -> tuple[Ragged, Any]:
    """Texts on the disk and their classes: one uses low codes more often, the other high ones."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    lengths = rng.integers(3, 12, count)
    made = [
        np.where(rng.random(n) < 0.8, rng.integers(1, 20, n) + 20 * c, rng.integers(1, CODES, n))
        for n, c in zip(lengths, classes, strict=True)
    ]
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{seed}.npy", np.concatenate(made).astype(np.uint16).clip(1, CODES - 1))
    tokens = np.load(folder / f"{seed}.npy", mmap_mode="r")
    return Ragged(tokens, np.r_[0, lengths.cumsum()], near), classes


def trained(items: Items, folder: Path, **how: Any) -> tuple[Hidden, list[dict[str, float]]]:
    torch.manual_seed(0)
    objective = Hidden(Words())
    plan = Plan(epochs=6, batch_size=8, precision="fp32", learning_rate=0.02)
    probe = prepare(torch.from_numpy(items.batch([*range(8)])["items"]))
    history = train(
        objective, items, plan, Silence(), probe=probe, checkpoints=Checkpoints("s", "f", folder),
        **how,
    )  # fmt: skip
    return objective, history


@pytest.mark.parametrize("near", [None, 3])
def test_the_engine_trains_on_items_of_different_lengths(tmp_path: Path, near: int | None) -> None:
    items, _ = texts(100, 0, tmp_path / "data", near)
    one, history = trained(items, tmp_path / "0")
    two, again = trained(items, tmp_path / "2", workers=2)
    assert one.seen == two.seen and len(one.seen) == 72
    assert [row["loss"] for row in history] == [row["loss"] for row in again]
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
    assert history[-1]["loss"] < history[0]["loss"]
    order = Order(100, 8, 0, range(72), (0, 1), near)
    assert one.seen == [rows.tolist() for rows in order]
    assert (one.seen == [rows.tolist() for rows in Order(100, 8, 0, range(72), (0, 1))]) == (
        near is None
    )


def test_what_is_kept_of_a_run_and_a_linear_probe_know_only_the_protocol(tmp_path: Path) -> None:
    """Texts are pretrained on; the encoder is saved and read again; its features are probed."""
    whole, classes = texts(160, 0, tmp_path / "data", near=5)
    parts = {"train": (0, 100), "val": (100, 130), "test": (130, 160)}
    splits = {
        name: Labelled(
            whole.part(start, stop), classes[start:stop],
            [f"{name}{i}" for i in range(start, stop)], ["low", "high"],
        )
        for name, (start, stop) in parts.items()
    }  # fmt: skip
    objective, _ = trained(splits["train"].items, tmp_path)
    save_file(objective.encoder.state_dict(), tmp_path / "encoder.safetensors")

    def encoder() -> Words:
        made = Words()
        made.load_state_dict(load_file(tmp_path / "encoder.safetensors"))
        return made

    test = problem(splits).test
    found = setting().outputs(encoder(), test)
    alone = [encoder()(prepare(torch.from_numpy(text))[None])[0] for text in test.each()]
    np.testing.assert_allclose(found, torch.stack(alone).detach().numpy(), rtol=1e-5, atol=1e-6)

    def methods(whole: Any) -> dict[str, LinearProbe]:
        features = FrozenFeatures(encoder, setting(), whole, None)
        return {"linear": LinearProbe(features, [0.1, 1.0, 10.0], repeats=True)}

    rows = list(measure(methods, splits, [5, "all"], 2, 0, Silence()))
    scores = {row.budget: np.mean(row.values) for row in rows if isinstance(row, Row)}
    assert scores["all"] > 0.85, "low and high codes are easy to tell apart"


def test_what_is_done_once_leaves_items_with_lengths_as_they_are(tmp_path: Path) -> None:
    """A result alone would not say how long each item is."""
    items, _ = texts(20, 0, tmp_path)
    assert precomputed(items, prepare) is items
    subset = Subset("train", items, np.arange(4), np.zeros(4, np.int64))
    assert setting(precompute=prepare).ready(subset) is subset


@pytest.fixture(params=["array", "memory map", "part"])
def arrays(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Arrays, np.ndarray]]:
    plain = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "items.npy", plain)
    if request.param == "array":
        yield Arrays(plain), plain
        return
    kept = np.load(tmp_path / "items.npy", mmap_mode="r")
    if request.param == "memory map":
        yield Arrays(kept), plain
        return
    part = Arrays(kept).part(10, 25)
    assert np.shares_memory(part.array, kept), "nothing is copied"
    yield part, plain[10:25]


ASKED = ([3], [], [4, 4, 0], [9, 2, 2, 7], np.arange(14)[::-1].copy())


@pytest.mark.parametrize("rows", ASKED, ids=str)
def test_a_batch_of_arrays_is_plain_indexing(arrays: tuple[Arrays, np.ndarray], rows: Any) -> None:
    items, plain = arrays
    found = items.batch(rows)
    assert set(found) == {"items"} and len(items) == len(plain)
    assert type(found["items"]) is np.ndarray and found["items"].dtype == plain.dtype
    np.testing.assert_array_equal(found["items"], plain[rows])
    found["items"][...] = 0  # a copy: what is on the disk stays
    np.testing.assert_array_equal(items.batch(rows)["items"], plain[rows])
    for row in rows:
        np.testing.assert_array_equal(item(items, row), plain[row])


def test_a_digest_is_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    plain = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, plain)
    first = Arrays(plain).digest()
    assert [Arrays(np.load(tmp_path / n, mmap_mode="r")).digest() for n in ("a.npy", "b.npy")] == [
        first, first,
    ]  # fmt: skip
    assert Arrays(plain).part(3, 9).digest() == Arrays(plain[3:9].copy()).digest() != first
    assert Arrays(plain[::2]).digest() == Arrays(plain[::2].copy()).digest()
    other = plain.copy()
    other[-1, -1, -1] += 1
    different = [other, plain[::-1], plain[:-1], plain.view(np.int8), plain.reshape(30, 5, 4)]
    assert len({first, *(Arrays(each).digest() for each in different)}) == 6
    assert Arrays(plain[:0]).digest() != Arrays(np.zeros(0)).digest()


def test_a_checkpoint_fits_only_the_items_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same source read in another size has the same meta.json."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    params = project()

    def print_of() -> str:
        return _fingerprint(params, "tiny", dataset.pool(Path("data/image")).items)

    before, kept = print_of(), np.load("data/image/items.npy")
    np.save("data/image/items.npy", kept[:, ::2, ::2])
    assert print_of() != before
    np.save("data/image/items.npy", kept)
    assert print_of() == before


def test_a_digest_reads_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.arange(70, dtype=np.int16).reshape(7, 10)
    whole = Arrays(plain).digest()
    monkeypatch.setattr("modalities.items.PIECE", 45)  # two items, then one
    assert Arrays(plain).digest() == whole


def test_without_groups_the_order_is_a_permutation_of_the_epoch() -> None:
    """What every run before had: the same draw from (seed, epoch)."""
    for epoch in range(3):
        found = np.concatenate(list(Order(40, 8, 7, range(5 * epoch, 5 * epoch + 5), (0, 1))))
        np.testing.assert_array_equal(found, np.random.default_rng([7, epoch]).permutation(40))


@pytest.mark.parametrize(("count", "near"), [(1000, 10), (1003, 10), (50, 7), (5, 8), (9, 1)])
def test_rows_that_lie_together_come_together(count: int, near: int) -> None:
    rows = shuffled(count, near, np.random.default_rng(0))
    assert sorted(rows) == list(range(count))
    np.testing.assert_array_equal(rows, shuffled(count, near, np.random.default_rng(0)))
    assert count == 5 or not np.array_equal(rows, shuffled(count, near, np.random.default_rng(1)))
    for start in range(0, count, WINDOW * near):
        groups = np.unique(rows[start : start + WINDOW * near] // near)
        assert len(groups) <= WINDOW + 1, "a smaller last group makes room for part of another"
    if count == 1000:
        assert (np.diff(rows[: WINDOW * near] // near) != 0).mean() > 0.8, "mixed in a window"
        assert len(np.unique(rows[: WINDOW * near] // near)) == WINDOW


def test_the_order_with_groups_is_the_same_for_any_number_of_processes_and_workers() -> None:
    items = Arrays(np.arange(40)[:, None], near=4)
    whole = list(Order(40, 8, 0, range(10), (0, 1), 4))
    halves = [list(Order(40, 8, 0, range(10), (rank, 2), 4)) for rank in (0, 1)]
    for rows, one, two in zip(whole, *halves, strict=True):
        assert rows.tolist() == [*one, *two]
    for workers in (0, 2):
        batches = loader(items, Order(40, 8, 0, range(10), (0, 1), 4), workers=workers)
        assert [b["items"][:, 0].tolist() for b in batches] == [rows.tolist() for rows in whole]


def test_rows_have_free_labels_beside_all_that_items_give(tmp_path: Path) -> None:
    items, classes = texts(10, 0, tmp_path)
    found = Rows(items, {"free_label": classes})[np.array([7, 1])]
    assert list(found) == ["items", "lengths", "free_label", "index"]
    assert found["free_label"].tolist() == [1, 1] and found["index"].tolist() == [7, 1]
