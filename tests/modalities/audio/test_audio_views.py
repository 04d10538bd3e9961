"""Spectrograms, their augmentation, the encoders, and the controls of sound classification."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sound_world import tone

from modalities.audio.network import views
from modalities.audio.network.encoder import Small, ViT, build
from modalities.audio.network.views import augment, log_mel, prepare
from modalities.audio.objectives.masked_units import MaskedUnits
from modalities.audio.tasks.classification import Classification
from modalities.base import Labelled, Randomness, UserError
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Subset
from modalities.common.measuring.rows import Row
from modalities.common.steps import precompute
from modalities.common.steps.precompute import precomputed
from modalities.common.training.monitor import Silence
from modalities.items import Arrays

torch.set_num_threads(1)


def batch(count: int = 6, seconds: float = 1.0) -> torch.Tensor:
    """(B, T) int16: a tone each, the higher the later."""
    made = [tone(seconds, 200 * 1.6**i) * 30_000 for i in range(count)]
    return torch.from_numpy(np.stack(made).astype(np.int16))


def rng(count: int = 6, seed: int = 0) -> Randomness:
    return Randomness(torch.Generator().manual_seed(seed), total=count)


def test_log_mel_does_not_know_the_level() -> None:
    loud = batch()
    soft = (loud.float() / 8).to(torch.int16)
    a, b = views.prepare(loud), views.prepare(soft)
    assert a.shape == (6, 1, 64, 101) and a.dtype == torch.float32
    torch.testing.assert_close(a, b, atol=0.05, rtol=0)
    assert a.mean().abs() < 1e-4 and 0.3 < float(a.std()) < 3


def test_log_mel_is_highest_where_it_sounds() -> None:
    peaks = views.prepare(batch()).mean(3)[:, 0].argmax(1)
    assert (peaks.diff() > 0).all()


def test_a_sound_of_zeros_gives_numbers() -> None:
    assert torch.isfinite(views.prepare(torch.zeros(2, 16_000, dtype=torch.int16))).all()


def test_no_augmentation_changes_nothing() -> None:
    x = views.prepare(batch())
    torch.testing.assert_close(views.Augmentation()(batch(), rng()), x, atol=1e-5, rtol=0)


def test_a_crop_is_a_part_of_the_sound() -> None:
    """Of a sound whose second half is a higher tone, crops show one, the other, or the change."""
    two = np.concatenate([tone(0.5, 300), tone(0.5, 3000)]) * 30_000
    items = torch.from_numpy(two.astype(np.int16))[None].repeat(64, 1)
    cut = views.Augmentation(crop=(0.4, 0.4), length=0.4)(items, rng(64))
    assert cut.shape == (64, 1, 64, 40)
    high = cut[:, 0, 32:].mean((1, 2)) > cut[:, 0, :32].mean((1, 2))
    assert 10 < int(high.sum()) < 54
    assert len({float(v) for v in cut.sum((1, 2, 3))}) > 30, "places differ"


def test_shift_tilt_noise_and_masks_do_what_they_say() -> None:
    items, x = batch(), views.prepare(batch())
    moved = views.Augmentation(shift=0.4)(items, rng())
    assert (moved.mean(3)[:, 0].argmax(1) != x.mean(3)[:, 0].argmax(1)).any()
    tilted = views.Augmentation(tilt=0.5)(items, rng()) - x
    torch.testing.assert_close(tilted.std(3), torch.zeros(6, 1, 64), atol=1e-4, rtol=0)
    assert tilted.std(2).min() > 0.01, "a response is the same at all times"
    noisy = views.Augmentation(noise=1.0)(items, rng())
    assert (noisy >= x - 1e-4).all() and (noisy > x + 0.1).any()
    hidden = views.Augmentation(hide=0.5)(items, rng())
    changed = hidden != x
    assert 0 < changed.float().mean() < 0.8 and (hidden[changed] == 0).all()


@pytest.mark.parametrize("name", ["small", "vit"])
def test_encoders_give_one_feature_a_sound_of_any_length(name: str) -> None:
    encoder = build(name).eval()
    for seconds in (0.5, 1.0, 2.0):
        x = views.prepare(batch(2, seconds))
        assert encoder(x).shape == (2, encoder.dim)
        assert encoder.tokens(x).shape[2] == encoder.dim


def test_the_transformer_encodes_visible_patches_alone() -> None:
    torch.manual_seed(0)
    encoder = ViT(bands=16, frames=8, width=32, depth=2, heads=2).eval()
    x = views.prepare(batch(2))
    visible = torch.tensor([[0, 5, 7], [1, 2, 40]])
    seen = encoder.tokens(x, visible)
    patches = encoder.patches(x)  # change what is not visible: nothing changes
    hidden = torch.ones(2, 48, dtype=torch.bool)
    hidden[torch.arange(2)[:, None], visible] = False
    noise = torch.where(hidden[:, :, None], torch.randn_like(patches), patches)
    other = noise.view(2, 4, 12, 16, 8).permute(0, 1, 3, 2, 4).reshape(2, 1, 64, 96)
    torch.testing.assert_close(encoder.tokens(other, visible), seen)
    with pytest.raises(ValueError, match="needs its neighbours"):
        Small().tokens(x, visible)


def test_impossible_encoders_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'small'"):
        build("smal")
    with pytest.raises(UserError, match=r"unknown option 'depht'.*did you mean 'depth'"):
        build("vit", depht=3)
    with pytest.raises(UserError, match="impossible value 0"):
        build("vit", frames=0)
    with pytest.raises(UserError, match="width 30 must be divisible by 4"):
        build("vit", width=30)


def test_masked_units_are_asked_where_masked_and_shown_nowhere() -> None:
    torch.manual_seed(0)
    objective = MaskedUnits(ViT(width=32, depth=1, heads=1), units=9, start=0.2, span=3)
    items = batch()
    labels = torch.arange(101).expand(6, -1) // 12
    seen = objective.views({"items": items, "free_label": labels}, rng())
    masked, units = seen["masked"], seen["unit"]
    assert masked.shape == units.shape == (6, 12)
    torch.testing.assert_close(units, labels[:, 4::8][:, :12])
    assert masked.any(1).all() and not masked.all()
    before = objective(seen).loss
    sound = seen["sound"].clone()
    where = masked.repeat_interleave(8, 1)
    sound[:, :, :, :96] = torch.where(where[:, None, None], torch.randn(1), sound[..., :96])
    torch.testing.assert_close(objective(seen | {"sound": sound}).loss, before)
    units = torch.where(masked, units, (units + 1) % 9)
    torch.testing.assert_close(objective(seen | {"unit": units}).loss, before)
    with pytest.raises(UserError, match=r"options\.units: 9 is too few: labels have unit 9"):
        objective.views({"items": items, "free_label": labels + 2}, rng())


@pytest.mark.parametrize("name", ["byol", "clusters", "contrastive", "mae", "masked_units"])
def test_spectrograms_made_once_give_the_same_views(name: str) -> None:
    module = import_module(f"modalities.audio.objectives.{name}")
    kind = next(k for k in vars(module).values() if getattr(k, "__module__", "") == module.__name__)
    made = kind(build("vit" if name in ("mae", "masked_units") else "small"))
    items, index = batch(), torch.arange(6)
    label = torch.zeros((6, 101) if name == "masked_units" else 6, dtype=torch.int64)
    free = {"index": index, "free_label": label, "free_confidence": torch.ones(label.shape)}
    plain = made.views({"items": items, **free}, rng())
    ready = torch.from_numpy(
        precomputed(Arrays(items.numpy()), made.precompute).batch([*range(6)])["items"]
    )
    again = made.views({"items": ready, **free}, rng())
    assert plain.keys() == again.keys()
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-4, atol=1e-4)


def test_what_is_done_once_is_done_for_all_items_and_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = np.arange(700, dtype=np.int16)[:, None].repeat(3, 1)
    items = Arrays(raw)
    seen: list[int] = []

    def double(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return part.float() * 2

    np.testing.assert_array_equal(
        precomputed(items, double).batch([*range(700)])["items"], raw * 2.0
    )
    assert seen == [1, 256, 256, 188]
    assert precomputed(items, None) is items
    monkeypatch.setattr(precompute, "BYTES", 700 * 3 * 4 - 1)
    assert precomputed(items, double) is items
    assert len(precomputed(items.part(0, 0), double)) == 0


def test_fine_tuning_sees_spectrograms_that_were_made_once() -> None:
    items, at = Arrays(batch(9).numpy()), np.array([1, 2, 5, 8])
    subset = Subset("train", items, at, np.array([0, 1, 0, 1]))
    plain = Setting(prepare, augment, "fp32", "cpu")
    ready = Setting(prepare, augment, "fp32", "cpu", precompute=log_mel).ready(subset)
    assert plain.ready(subset) is subset
    assert ready.labels is subset.labels and ready.raw().shape[:2] == (4, 1)
    part = ready.part(np.array([3, 0]))
    torch.testing.assert_close(
        augment(plain.batch(part.items, part.at), rng(2)),
        augment(plain.batch(items, at[[3, 0]]), rng(2)),
    )


def splits(each: int = 8) -> dict[str, Labelled]:
    """Three kinds of noise that differ in their spectrum: a problem that MFCC solve."""
    generator = np.random.default_rng(0)
    found = {}
    for name in ("train", "val", "test"):
        sounds, labels = [], []
        for kind in range(3):
            for _ in range(each):
                noise = generator.normal(size=8_000)
                smooth = np.convolve(noise, np.ones(1 + 3 * kind) / (1 + 3 * kind), "same")
                sounds.append((smooth * 3_000).astype(np.int16))
                labels.append(kind)
        ids = [f"{name}{i}" for i in range(len(labels))]
        found[name] = Labelled(Arrays(np.stack(sounds)), np.array(labels), ids, ["a", "b", "c"])
    return found


def rows(task: Classification, start: str, make: Any = None) -> dict[str, Row]:
    made = list(task.run(start, make, splits(), Silence(), seed=0))
    assert all(isinstance(r, Row) for r in made)
    return {r.protocol: r for r in made if isinstance(r, Row)}


def test_controls_and_protocols_of_classification() -> None:
    small = {"widths": [8, 16]}
    task = Classification(budgets=[4], draws=2, max_steps=12, min_steps=8, learning_rates=[0.01],
                          scratch_learning_rates=[0.01], encoder_options=small)  # fmt: skip
    majority = rows(task, "majority")["majority"]
    assert majority.values == [pytest.approx(1 / 3)] * 2
    assert min(rows(task, "mfcc")["mfcc"].values) > 0.9
    assert set(rows(task, "random")) == {"linear", "knn"}
    assert set(rows(task, "scratch")) == {"finetune"}
    torch.manual_seed(0)
    state = build("small", **small).state_dict()

    def make() -> Small:
        encoder = Small(widths=(8, 16))
        encoder.load_state_dict(state)
        return encoder

    found = rows(task, "pretrained", make)
    assert set(found) == {"linear", "knn", "finetune"}
    assert np.mean(found["linear"].values) > 0.6


def test_every_labeler_is_found_with_its_options(tmp_path: Path) -> None:
    from tasks.settings import options

    for modality, names in (
        ("audio", {"sound_texture", "mfcc", "random", "mfcc_units", "run_units"}),
        ("video", {"sound_texture", "mfcc", "random"}),
    ):
        assert set(options.names(modality, "labelers")) == names
        for name in names:
            found = options.method(modality, "labelers", name)
            assert found.schema is not None and "k" in found.schema.model_fields
