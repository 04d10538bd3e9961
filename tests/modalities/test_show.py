"""What objectives show after training: that it is drawn, that it is true, that it is the same."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_objectives import FILES, make, raw
from training_world import digest
from training_world import make as make_project
from training_world import params as project

from modalities.base import Batch, Objective, Randomness
from modalities.common.pretraining.sheet import Cell, sheets
from modalities.common.training.batches import Rows
from modalities.common.training.monitor import Silence
from modalities.image.pretext import sheets as pictures
from modalities.image.pretext.colour import lab_of
from modalities.image.pretext.tiles import cut
from modalities.items import Arrays
from tasks.pretrain import pictures as shown
from tasks.pretrain import pretrain

IMAGES = [path for path in FILES if path.parts[-3] == "image"]
torch.set_num_threads(1)


class Heard(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

        self.pictures: list[Path] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def picture(self, name: str, path: Path) -> None:
        assert path.exists(), "told when it is in its place"
        self.pictures.append(path)


def drawn(objective: Objective, folder: Path) -> list[Path]:
    tell = Heard()
    shown.draw(objective, Rows(Arrays(raw("image")["items"].numpy())), 0, folder, tell)
    assert tell.warnings == []
    return sorted((folder / "pictures").iterdir())


@pytest.mark.parametrize("path", IMAGES, ids=lambda p: p.stem)
def test_every_objective_shows_something(path: Path, tmp_path: Path) -> None:
    objective = make(path)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    files = drawn(objective, tmp_path / "one")
    assert files
    for file in files:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGBA"))
            caption = image.info["Description"]
        assert len(caption) > 40 and caption.endswith(".")
        assert pixels.shape[1] <= 5 * 128 + 4 * 16, "it fits a telephone at half its size"
        opaque = pixels[pixels[..., 3] > 200][:, :3]
        assert len(opaque) > 0.4 * 128 * 128
        assert len(np.unique(opaque, axis=0)) > 20, "more than a ground"
        assert (pixels[..., 3] == 0).any(), "the page's own paper is seen"
    after = objective.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "showing changes nothing"
    assert objective.training
    again = drawn(objective, tmp_path / "two")
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[list[Cell]]:
    """The rows of the sheet that is drawn last."""
    found: list[list[Cell]] = []

    def keep(folder: Path, heads: Any, rows: list[list[Cell]], caption: str) -> None:
        found[:] = rows

    monkeypatch.setattr(pictures, "sheets", keep)
    return found


def images(batch: int = 3, size: int = 24) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    rgb = torch.rand(batch, 3, size // 4, size // 4, generator=g).repeat_interleave(4, 2)
    std, mean = (
        torch.tensor(pictures.STD)[:, None, None],
        torch.tensor(pictures.MEAN)[:, None, None],
    )
    return (rgb.repeat_interleave(4, 3) - mean) / std


NOWHERE = Path("nowhere")


def test_levels_are_those_of_the_picture() -> None:
    from modalities.image.network.views import prepare

    items = raw("image")["items"]
    np.testing.assert_array_equal(pictures.levels(prepare(items)), items.numpy())


def test_rotations_are_told_apart(cells: list[list[Cell]]) -> None:
    x = images(2)
    turned = torch.cat([torch.rot90(x, quarters, (2, 3)) for quarters in range(4)])
    chances = torch.full((8, 4), 0.1)
    chances[torch.arange(8), torch.arange(4).repeat_interleave(2)] = 0.7
    chances[6] = torch.tensor([0.7, 0.1, 0.1, 0.1])  # the first picture's last turn: taken for none
    pictures.rotations(NOWHERE, turned, chances)
    assert [cell.frame for cell in cells[0]] == ["right", "right", "right", "wrong"]
    assert [cell.text for cell in cells[0]] == ["0° 70 %", "90° 70 %", "180° 70 %", "0° 70 %"]
    assert {cell.frame for cell in cells[1]} == {"right"}
    for place, cell in enumerate(cells[1]):
        assert cell.true == place == int(np.argmax(cell.bars))
        np.testing.assert_array_equal(cell.picture, np.rot90(cells[1][0].picture, place))


def test_a_solved_puzzle_is_the_picture(cells: list[list[Cell]]) -> None:
    g = torch.Generator().manual_seed(1)
    tiles = torch.randn(2, 9, 3, 6, 6, generator=g)
    order = torch.tensor([[4, 0, 8, 1, 7, 2, 6, 3, 5], [1, 2, 0, 3, 4, 5, 6, 7, 8]])
    guess = order.clone()
    guess[1] = torch.tensor([1, 2, 0, 4, 3, 5, 6, 7, 8])
    pictures.puzzles(NOWHERE, tiles, order, guess)
    (whole, shuffled, back), (other, _, wrong) = cells
    np.testing.assert_array_equal(whole.picture, back.picture)
    assert not np.array_equal(whole.picture, shuffled.picture)
    np.testing.assert_array_equal(
        shuffled.picture[:40, :40], whole.picture[44:84, 44:84], "place 0 shows tile 4"
    )
    assert (back.frame, back.text) == ("right", "solved")
    assert (wrong.frame, wrong.text) == ("wrong", "7 of 9")
    assert not np.array_equal(other.picture, wrong.picture)


def test_the_second_patch_is_put_where_it_is_believed(cells: list[list[Cell]]) -> None:
    x, side = images(2, 40), 8
    where = torch.tensor([[[16, 16, side], [4, 28, side]]]).repeat(2, 1, 1)  # above, to the right
    corners = [where[:, :, :1], where[:, :, 1:2]]
    belief = torch.eye(8)[[2, 3]]
    target = torch.tensor([2, 2])
    pictures.neighbours(NOWHERE, x, cut(x, corners, side), where, belief, target)
    assert [row[3].frame for row in cells] == ["right", "wrong"]
    for row, top, left in zip(cells, (0, 44), (88, 0), strict=True):
        second = row[3].picture[top + 8 : top + 32, left + 8 : left + 32, :3]
        seen = np.asarray(Image.fromarray(row[2].picture).resize((40, 40), 0))[8:32, 8:32]
        np.testing.assert_array_equal(second, seen)
    lit = cells[0][0].picture
    np.testing.assert_array_equal(lit[4:12, 28:36], pictures.levels(x[0])[4:12, 28:36])
    assert lit[30:].max() < pictures.levels(x[0])[30:].max()


def test_what_was_seen_stays_and_what_was_not_is_painted(cells: list[list[Cell]]) -> None:
    x = images()
    hole = torch.zeros(3, 1, 24, 24, dtype=torch.bool)
    hole[:, :, 8:16, 8:16] = True
    pictures.holes(NOWHERE, x, hole, x.flip(0))
    for row, other in zip(cells, reversed(cells), strict=True):
        seen, filled, truth = (cell.picture for cell in row)
        outside = ~hole[0, 0].numpy()
        for part in (seen, filled):
            np.testing.assert_array_equal(part[outside], truth[outside])
        assert len(np.unique(seen[~outside], axis=0)) == 1
        np.testing.assert_array_equal(filled[~outside], other[2].picture[~outside])


def test_patches_are_put_in_their_places(cells: list[list[Cell]]) -> None:
    from modalities.common.network.masking import take_tokens
    from modalities.image.network.vit import ViT

    x = images()
    every = ViT(patch=4, width=32, depth=1, heads=2).patches(x)
    masked = torch.tensor([[0, 7, 35], [1, 2, 3], [30, 20, 10]])
    pictures.patches(NOWHERE, x, masked, take_tokens(every, masked))
    for row in cells:
        seen, painted, truth = (cell.picture for cell in row)
        np.testing.assert_array_equal(painted, truth)
        assert not np.array_equal(seen, truth)
    assert len(np.unique(cells[0][0].picture[4:8, 4:8], axis=(0))) == 1, "patch 7 of 6 x 6"


def test_true_colours_give_the_picture(cells: list[list[Cell]]) -> None:
    x = images()
    lab = lab_of(x)
    pictures.colours(NOWHERE, lab, lab[:, 1:])
    for row, image in zip(cells, pictures.levels(x), strict=True):
        grey, painted, truth = (cell.picture.astype(int) for cell in row)
        assert np.abs(truth - image).max() <= 1
        np.testing.assert_array_equal(painted, truth)
        assert np.ptp(grey, axis=2).max() <= 1, "no colour"


def test_the_hardest_negatives_come_first(cells: list[list[Cell]]) -> None:
    x = images(5)
    likeness = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.2]]).repeat(5, 1)
    pictures.pairs(NOWHERE, x, x, likeness, "hardest negatives")
    assert [cell.text for cell in cells[0]] == ["", "0.90", "0.50", "0.30", "0.20"]
    assert [cell.text for cell in cells[1]] == ["", "0.10", "0.90", "0.50", "0.30"]
    assert [row[1].frame for row in cells] == ["right"] + ["wrong"] * 4
    np.testing.assert_array_equal(cells[1][2].picture, pictures.levels(x)[0])


def test_sheets_are_numbered_and_say_their_caption(tmp_path: Path) -> None:
    picture = np.full((32, 16, 3), 200, np.uint8)
    rows = [[Cell(picture), Cell(picture, "0.50", "right", (0.0, 1.0), 1)]] * 5
    sheets(tmp_path, ["a", "b"], rows, "Was möglich ist.")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.png", "2.png"]
    with Image.open(tmp_path / "2.png") as image:
        assert image.info["Description"] == "Was möglich ist."
        assert image.size[0] == 2 * 128 + 16
        assert image.getpixel((64, 36 + 64)) == (200, 200, 200, 255)
        assert image.getpixel((2, 36 + 64))[3] == 0, "a tall picture leaves its sides free"


RUN = {
    "objective": "rotation", "encoder_options": {"widths": [4, 8]}, "epochs": 1, "batch_size": 32,
}  # fmt: skip


def trained(folder: Path, run: Mapping[str, Any] = RUN) -> tuple[Path, Heard]:
    make_project(folder)
    os.chdir(folder)
    tell = Heard()
    pretrain(project(dict(run)), tell, run="tiny")  # type: ignore[arg-type]
    return folder / "models/tiny", tell


@pytest.fixture
def home() -> Any:
    here = Path.cwd()
    yield here
    os.chdir(here)


def test_the_stage_leaves_pictures_and_the_same_bytes(home: Path, tmp_path: Path) -> None:
    one, tell = trained(tmp_path / "one")
    two, _ = trained(tmp_path / "two")
    assert [p.name for p in sorted((one / "pictures").iterdir())] == ["1.png", "2.png"]
    assert [p.name for p in tell.pictures] == ["1.png", "2.png"]
    assert digest(one) == digest(two)
    assert (one / "plots").is_dir() and (one / "metrics.json").exists()
    assert '"about": "Turn each picture by 0, 90' in (one / "config.json").read_text()


def test_a_picture_that_fails_costs_nothing_else(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalities.image.objectives.rotation import Rotation

    def fail(self: Rotation, batch: Batch, rng: Randomness, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "half.png").write_bytes(b"\x89PNG")
        raise ValueError("out of paint")

    monkeypatch.setattr(Rotation, "show", fail)
    model, tell = trained(tmp_path / "one")
    assert tell.warnings[-1] == "no pictures of the pretext task: ValueError: out of paint"
    assert not (model / "pictures").exists()
    assert (model / "encoder.safetensors").exists()
