"""What every objective must be, checked for every file that is one."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalities.base import Batch, Encoder, Objective, Progress, Randomness, Step
from modalities.common.steps.optim import optimizer
from modalities.video.clips import pack
from tasks.pretrain import construct
from tasks.settings import options as methods
from tasks.settings.params import MODALITIES, load

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    ROOT / "modalities" / modality / "objectives" / f"{name}.py"
    for modality in ("audio", "image", "shape", "video")
    for name in methods.names(modality, "objectives")
]
# Options that make a tiny set learnable in seconds, where an objective has them.
SMALL = {
    "queue": 64, "momentum": 0.9, "temperature": 0.2, "crop": 0.7, "colour": 0.2, "grey": 0.0,
    "blur": 0.0, "hidden": 64, "permutations": 8, "context.colour": "projection",
    "turn": "none", "shift": 0.0, "compared": 32,
}  # fmt: skip
ITEMS = 32
# Options of the modality's small encoder, and the one that can be shown parts of an item.
ENCODERS: dict[str, Any] = {
    "image": ({"widths": [8, 16, 32]}, ("vit", {"patch": 4, "width": 32, "depth": 2, "heads": 2})),
    "audio": (
        {"widths": [8, 16, 32]},
        ("vit", {"bands": 16, "frames": 8, "width": 32, "depth": 2, "heads": 2}),
    ),
    "shape": (
        {"width": 8, "dim": 32, "centres": [32, 8], "neighbours": 8},
        ("transformer", {"width": 48, "depth": 2, "heads": 3, "groups": 16, "size": 16}),
    ),
}
torch.set_num_threads(1)  # as stages have it; the test run may have many processes


@pytest.fixture(params=FILES, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def kind(path: Path) -> type[Objective]:
    module = import_module(f"modalities.{path.parts[-3]}.objectives.{path.stem}")
    found = [
        k
        for k in vars(module).values()
        if isinstance(k, type) and issubclass(k, Objective) and k.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{path}: one objective a file"
    return found[0]


def encoder(modality: str, wanted: type[Encoder] = Encoder) -> Encoder:
    """A small encoder of the kind that an objective's annotation asks for."""
    small, parts = ENCODERS["image" if modality == "video" else modality]
    build = import_module(f"modalities.{modality}.network").build_encoder
    made: Encoder = build("small", **small)
    return made if isinstance(made, wanted) else build(*parts[:1], **parts[1])


def raw(modality: str, objective: str = "") -> Batch:
    """Items that differ, and free labels that follow from them."""
    if modality == "audio":
        found = tones()
        one = found["free_label"][:, 0]  # per sound, where others learn from one per frame
        return found | {"free_label": one} if objective == "clusters" else found
    if modality == "shape":
        return clouds()
    pictures = squares()
    if modality == "image":
        return pictures
    assert modality == "video", f"say here what a raw batch of {modality} is"
    frames = pictures["items"].numpy()
    clips = [pack(np.stack([f, f]), np.ones(800, np.int16)) for f in frames]
    shade = pictures["items"].float().mean((1, 2, 3)).argsort().argsort() // 8  # (ITEMS,)
    return {"items": torch.from_numpy(np.stack(clips)), "free_label": shade,
            "index": pictures["index"]}  # fmt: skip


def tones() -> Batch:
    """Tones of many pitches, each in pulses of its own rate; a unit says how high it sounds."""
    t = torch.arange(16_000) / 16_000
    pitch = 200 * 1.12 ** torch.arange(ITEMS)[:, None]
    rate = 2 + torch.arange(ITEMS)[:, None] * 7 % 13
    wave = torch.sin(6.283 * pitch * t) * (torch.sin(6.283 * rate * t) > 0)
    g = torch.Generator().manual_seed(0)
    sound = 8000 * wave + 50 * torch.randn(ITEMS, 16_000, generator=g)
    units = (torch.arange(ITEMS)[:, None] // 4).expand(-1, 101)
    return {"items": sound.to(torch.int16), "free_label": units, "index": torch.arange(ITEMS)}


def squares() -> Batch:
    """Coarse coloured squares: pictures that differ and have an up and a down."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (ITEMS, 4, 4, 3), generator=g, dtype=torch.uint8)
    x[:, 0] = 255  # the sky
    light = torch.linspace(0.1, 1.0, ITEMS)[:, None, None, None]
    x = (x * light).to(torch.uint8)  # else they are all alike to a random encoder
    x = x.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return {"items": x, "index": torch.arange(ITEMS)}


def clouds() -> Batch:
    """Lying boxes of different sizes, each on one foot; a piece is a side of the box."""
    g = torch.Generator().manual_seed(0)
    size = torch.rand(ITEMS, 1, 3, generator=g) ** 3 * 3 + 0.03  # sticks, plates, cubes
    place = torch.rand(ITEMS, 128, 3, generator=g) * 2 - 1
    axis = torch.randint(3, (ITEMS, 128), generator=g)
    side = torch.randint(2, (ITEMS, 128), generator=g) * 2.0 - 1
    normal = torch.nn.functional.one_hot(axis, 3) * side[..., None]
    place = torch.where(normal != 0, normal, place)
    place[::2] = torch.nn.functional.normalize(place[::2], dim=-1)  # every other one is round
    place = place * size
    foot = torch.linspace(0.5, 4, ITEMS)[:, None, None] * torch.tensor([0.0, -1.0, 0.0])
    place[:, :20] = foot + 0.1 * place[:, :20]
    piece = axis * 2 + (side > 0)
    rest = -torch.ones(ITEMS, 128, 1)
    return {
        "items": torch.cat([place, normal, rest], -1), "index": torch.arange(ITEMS),
        "free_label": piece.int(), "free_confidence": torch.ones(ITEMS, 128),
    }  # fmt: skip


def make(path: Path) -> Objective:
    torch.manual_seed(0)
    known = methods.schema(path, "Objective").model_fields
    options = {key: value for key, value in SMALL.items() if key in known}
    options |= {k: SMALL[f"{path.stem}.{k}"] for k in known if f"{path.stem}.{k}" in SMALL}
    takes = inspect.signature(kind(path)).parameters["encoder"].annotation
    made = kind(path)(encoder(path.parts[-3], takes), **options)
    made.begin(ITEMS)
    return made


def randomness(seed: int = 0, **share: Any) -> Randomness:
    return Randomness(torch.Generator().manual_seed(seed), total=ITEMS, **share)


def test_views_follow_from_the_generator(path: Path) -> None:
    objective, batch = make(path), raw(path.parts[-3], path.stem)
    first, again = (objective.views(batch, randomness(1)) for _ in range(2))
    other = objective.views(batch, randomness(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_views_of_half_a_batch_are_half_of_the_views(path: Path) -> None:
    """Two processes together see what one would: for every image tensor, as a set of pictures."""
    objective, batch = make(path), raw(path.parts[-3], path.stem)
    whole = objective.views(batch, randomness())
    half = ITEMS // 2
    halves = [
        objective.views(
            {key: value[start : start + half] for key, value in batch.items()},
            randomness(positions=range(start, start + half)),
        )
        for start in (0, half)
    ]
    for key in (k for k, v in whole.items() if v.is_floating_point()):
        one = whole[key].flatten(1).double().sum(1).sort()[0]
        two = torch.cat([part[key] for part in halves]).flatten(1).double().sum(1).sort()[0]
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-2)


def test_the_loss_is_finite_and_reaches_the_encoder(path: Path) -> None:
    objective = make(path)
    step = objective(objective.views(raw(path.parts[-3], path.stem), randomness()))
    assert isinstance(step, Step)
    assert step.loss.shape == ()
    assert torch.isfinite(step.loss)
    step.loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in objective.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    objective.after_step(Progress(1, 2))


def run(objective: Objective, batch: Batch, steps: range, lr: float) -> list[float]:
    update = optimizer("adamw", objective.parameters(), lr or 1.0, 0.0)
    losses = []
    for step in steps:
        found = objective(objective.views(batch, randomness(step)))
        update.zero_grad()
        found.loss.backward()
        if lr:
            update.step()
        objective.after_step(Progress(step + 1, steps.stop))
        losses.append(float(found.loss.detach()))
    return losses


@pytest.mark.slow
def test_a_tiny_set_is_learned(path: Path) -> None:
    """The loss falls, from where it is when queues and averages are filled, without collapse."""
    from modalities.common.training.monitor import diagnose, health

    objective, batch = make(path), raw(path.parts[-3], path.stem)
    before = run(objective, batch, range(8), lr=0.0)[-4:]
    after = run(objective, batch, range(8, 68), lr=3e-3)[-10:]
    assert sum(after) / 10 < 0.85 * sum(before) / 4
    probe = import_module(f"modalities.{path.parts[-3]}.network").prepare(batch["items"])
    assert diagnose(health(objective.encoder, probe), 1.0) is None


def test_the_state_comes_back(path: Path) -> None:
    objective, batch = make(path), raw(path.parts[-3], path.stem)
    run(objective, batch, range(3), lr=1e-3)
    twin = make(path)
    twin.load_state_dict(objective.state_dict())
    views = objective.views(batch, randomness(9))
    torch.manual_seed(0)
    first = objective(views).loss
    torch.manual_seed(0)
    assert torch.equal(first, twin(views).loss)


def test_it_says_where_it_comes_from_and_what_can_be_chosen(path: Path) -> None:
    text = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "") + (
        kind(path).__doc__ or ""
    )
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:", text), f"{path}: cite the paper"
    first, *options = inspect.signature(kind(path)).parameters.values()
    assert first.name == "encoder"
    assert methods.schema(path, "Objective")()  # those of base classes have defaults, too
    for option in options:
        if option.kind is option.VAR_KEYWORD:  # those of base classes
            continue
        assert option.kind is option.KEYWORD_ONLY, option
        assert option.default is not option.empty, option
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= 100, f"{path}: views, head and loss fit in 20 to 80 lines"


@pytest.mark.parametrize(
    "run_name", sorted(r for m in MODALITIES for r in load(ROOT / "params.yaml").section(m).runs)
)
def test_every_run_in_params_constructs(run_name: str) -> None:
    made = construct(load(ROOT / "params.yaml"), run_name)
    assert isinstance(made, Objective)
    assert made.encoder.dim > 0
