"""Where a run's weights begin: what fits, what is refused, chains of runs and published weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modalities.base import Encoder, UserError
from modalities.common.network import fitting
from modalities.common.network.trained import opened
from modalities.common.training.monitor import Silence
from modalities.image.network import build_encoder
from tasks import pretrain
from tasks.data import dataset
from tasks.published import checkpoint
from tasks.settings import options
from tasks.settings.params import Params, load
from tasks.wiring import wired
from tests.tasks.published.test_published import native
from tests.tasks.transfer.test_transfer_stage import ingested

ROOT = Path(__file__).resolve().parents[3]
TIMM = "timm/vit_tiny_patch16_224"


def changed(encoder: Encoder) -> dict[str, Tensor]:
    """Weights of which each tells where it came from."""
    torch.manual_seed(1)
    return {k: torch.randn_like(v) if v.is_floating_point() else v
            for k, v in encoder.state_dict().items()}  # fmt: skip


@pytest.mark.parametrize("name", ["small", "vit", "resnet18", TIMM])
def test_weights_of_the_same_size_are_taken_bit_by_bit(name: str) -> None:
    encoder = build_encoder(name)
    weights = changed(encoder)
    assert encoder.adopt(weights) == []
    assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())


def test_positions_are_interpolated_in_two_dimensions() -> None:
    large, small = (build_encoder(TIMM, size=side) for side in (96, 32))  # 6 x 6 and 2 x 2 patches
    weights = changed(large)
    told = small.adopt(weights)
    assert told == ["net.pos_embed of shape (1, 5, 192), found (1, 37, 192)"]
    before = weights["net.pos_embed"]
    grid = before[:, 1:].view(1, 6, 6, 192).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, size=(2, 2), mode="bicubic", antialias=True)
    found = small.state_dict()["net.pos_embed"]
    assert torch.equal(found[:, :1], before[:, :1]), "the class token has no place"
    torch.testing.assert_close(found[:, 1:], wanted.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("name", ["vit", TIMM])
def test_patches_of_another_size_see_the_same_in_a_larger_picture(name: str) -> None:
    """A kernel for patches of 4, fitted to 8, gives for enlarged patches what it gave."""
    coarse = {"patch": 8} if name == "vit" else {"patch": 8, "size": 32}
    fine = {"patch": 4} if name == "vit" else {"patch": 4, "size": 16}
    before, after = build_encoder(name, **fine), build_encoder(name, **coarse)
    before.load_state_dict(changed(before))
    assert len(after.adopt(before.state_dict())) == 1
    x = torch.randn(2, 3, 16, 16)
    blocks = x.view(2, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 4, 4)
    large = F.interpolate(blocks, size=(8, 8), mode="bicubic", antialias=True)
    wide = large.view(2, 4, 4, 3, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 32, 32)
    torch.testing.assert_close(after(wide), before(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 4), (4, 3)])
def test_a_grey_picture_looks_the_same_to_other_channels(before: int, after: int) -> None:
    kernel, grey = torch.randn(5, before, 3, 3), torch.randn(2, 1, 8, 8)
    made = fitting.of_channels(kernel, after)
    torch.testing.assert_close(
        F.conv2d(grey.expand(-1, after, -1, -1), made),
        F.conv2d(grey.expand(-1, before, -1, -1), kernel),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_a_first_kernel_for_grey_pictures_is_spread_over_the_colours() -> None:
    encoder = build_encoder("small", widths=[8, 16])
    weights = changed(encoder)
    weights["stages.0.0.weight"] = weights["stages.0.0.weight"][:, :1]
    assert encoder.adopt(weights) == ["stages.0.0.weight of shape (8, 3, 4, 4), found (8, 1, 4, 4)"]
    weights["stages.1.0.weight"] = weights["stages.1.0.weight"][:, :1]
    with pytest.raises(UserError, match=r"expected stages\.1\.0\.weight of shape \(16, 8, 3, 3\)"):
        encoder.adopt(weights)


def test_what_does_not_fit_is_named_and_nothing_is_taken() -> None:
    encoder = build_encoder("small", widths=[8, 16])
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    weights = changed(encoder)
    wrong: list[tuple[dict[str, Tensor], str]] = [
        (weights | {"stages.1.0.weight": torch.zeros(9, 8, 3, 3)},
         r"expected stages\.1\.0\.weight of shape \(16, 8, 3, 3\), found \(9, 8, 3, 3\)"),
        ({k: v for k, v in weights.items() if k != "stages.1.1.bias"},
         r"expected a tensor for stages\.1\.1\.bias, found none"),
        (weights | {"stages.2.0.weight": torch.zeros(1)},
         r"found a tensor stages\.2\.0\.weight, which the encoder does not have"),
    ]  # fmt: skip
    for tensors, words in wrong:
        with pytest.raises(UserError, match=words):
            encoder.adopt(tensors)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    encoder.adopt(wrong[0][0], skip=["stages.1"])
    after = encoder.state_dict()
    assert torch.equal(after["stages.1.0.weight"], before["stages.1.0.weight"])
    assert torch.equal(after["stages.0.0.weight"], weights["stages.0.0.weight"])


def test_options_that_may_differ_are_those_of_the_class() -> None:
    assert options.fits("image", "vit") == options.fits("video", "vit") == ("patch",)
    assert options.fits("image", TIMM) == ("size", "patch", "pool")
    assert options.fits("image", "resnet18") == options.fits("audio", "vit") == ()
    assert options.fits("shape", "transformer") == ("groups", "size")


# params.yaml


def mistakes(tmp_path: Path, change: Callable[[Any], Any], wired: bool = True) -> str:
    """What is said of the default with a change."""
    tree = YAML(typ="rt").load((ROOT / "params.yaml").read_text("utf-8"))
    change(tree)
    with (tmp_path / "params.yaml").open("w") as file:
        YAML(typ="rt").dump(tree, file)
    if wired:
        shutil.copy(ROOT / "dvc.yaml", tmp_path)
    try:
        load(tmp_path / "params.yaml")
    except UserError as mistake:
        return str(mistake).replace(str(tmp_path), "")
    return ""


def run(name: str, **settings: Any) -> Callable[[Any], None]:
    def change(tree: Any) -> None:
        modality = next(m for m in ("image", "audio", "video", "shape") if name in tree[m]["runs"])
        tree[modality]["runs"][name].update(settings)

    return change


CIRCLE = "a circle, in which each needs the next one first: "


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([run("rotation", start="moco_v2")], ""),
        ([run("ambient", start="rotation")], ""),
        ([run("rotation", start="ambient")], ""),
        ([run("rotation", start="rotation")], "image.runs.rotation.start: a run cannot start from "
         "itself; allowed: none, moco_v2, ambient"),
        ([run("rotation", start="moco")],
         "unknown run or checkpoint 'moco'; did you mean 'moco_v2'"),
        ([run("rotation", start="convexity")], "'convexity' is an encoder for shape"),
        ([run("rotation", start="moco_v2"), run("moco_v2", start="ambient"),
          run("ambient", start="rotation")],
         f"image.runs.rotation.start: {CIRCLE}rotation -> moco_v2 -> ambient -> rotation"),
        ([run("rotation", start="moco_v2", encoder="resnet18")],
         "image.runs.rotation.encoder: found 'resnet18', whose weights are not those of its start "
         "'moco_v2'; expected 'small'"),
        ([run("rotation", start="moco_v2", encoder_options={"depth": 2})],
         "encoder_options.depth: found 2, and its start 'moco_v2' has 1; expected the same"),
        ([run("rotation", start="moco_v2", encoder="vit", encoder_options={"patch": 8}),
          run("moco_v2", encoder="vit")], ""),
        ([run("rotation", start="moco_v2", encoder="vit", encoder_options={"heads": 6}),
          run("moco_v2", encoder="vit")], "expected the same; only patch may differ"),
        ([run("rotation", start=3)], "image.runs.rotation.start: found 3"),
    ],
)  # fmt: skip
def test_a_start_is_checked_before_anything_runs(
    tmp_path: Path, changes: list[Callable[[Any], None]], expected: str
) -> None:
    message = mistakes(tmp_path, lambda tree: [change(tree) for change in changes])
    assert expected in message
    assert len(message.splitlines()) == bool(expected), "one mistake, said once"


def test_a_circle_by_way_of_labels_is_one(tmp_path: Path) -> None:
    def change(tree: Any) -> None:
        tree["audio"]["labelers"]["units"] = {"labeler": "run_units", "run": "sound_clusters"}
        tree["audio"]["runs"]["sound_clusters"].update(labels="units", encoder="vit")

    found = mistakes(tmp_path, change)
    assert f"audio.runs.sound_clusters.labels: {CIRCLE}sound_clusters -> units -> sound_cl" in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t["image"]["runs"]["moco_v2"].pop("start"),
         "image.runs.moco_v2.start: missing, and dvc.yaml reads it; write `start: none`"),
        (lambda t: t["audio"]["labelers"]["textures"].pop("run"),
         "audio.labelers.textures.run: missing"),
        (lambda t: t["image"].pop("checkpoints"),
         "image.checkpoints: missing, and dvc.yaml reads it"),
        (lambda t: t["image"].pop("auxiliary"),
         "image.auxiliary: missing, and dvc.yaml reads it; write `auxiliary: none`"),
        (lambda t: t.pop("video"), "video: missing, and dvc.yaml has stages of it; copy"),
        (lambda t: t["playroom"].pop("make"), "playroom.make: missing, and dvc.yaml reads it"),
    ],
)  # fmt: skip
def test_keys_that_the_stages_read_are_missed_by_name(
    tmp_path: Path, change: Callable[[Any], Any], expected: str
) -> None:
    """DVC takes no default for them, and says so in its own way."""
    message = mistakes(tmp_path, change)
    assert [line for line in message.splitlines() if expected in line]
    (tmp_path / "dvc.yaml").unlink()
    assert "reads it" not in mistakes(tmp_path, change, wired=False)


@pytest.mark.parametrize("name", ["default", "lecture", "paper"])
def test_the_profiles_have_every_key(tmp_path: Path, name: str) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / f"profiles/{name}.yaml", tmp_path / "params.yaml")
    load(tmp_path / "params.yaml")


# Stages


def test_a_run_s_stage_reads_the_weights_that_it_starts_from() -> None:
    chosen = load(ROOT / "params.yaml").model_dump(mode="json")
    chosen["video"]["runs"]["ambient"]["start"] = "moco_v2"
    stages = wired(chosen)
    assert "models/moco_v2" in stages["pretrain-video@ambient"].deps
    others = [
        s for s in stages.values() if s.name.startswith("pretrain-") and "ambient" not in s.name
    ]
    assert others and all("models/none" in stage.deps for stage in others)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ingested(tmp_path / "data/image", labelled=True)
    meta = json.loads((tmp_path / "data/image/meta.json").read_text())
    meta |= {"fingerprint": "f", "counts": {"train": {"labelled": 18}}}
    (tmp_path / "data/image/meta.json").write_text(json.dumps(meta))
    return tmp_path


def params(runs: dict[str, Any], checkpoints: dict[str, Any] | None = None) -> Params:
    """A project of tiny runs; each as params.yaml has it but for its length."""
    plain = {"objective": "rotation", "epochs": 1, "batch_size": 8}
    image = {"source": "raw", "labels": "raw", "size": 16, "checkpoints": checkpoints or {},
             "runs": {name: plain | run for name, run in runs.items()}}  # fmt: skip
    return Params.model_validate({"training": {"precision": "fp32"}, "image": image})


TWO = {
    "first": {"encoder_options": {"widths": [8, 16]}},
    "second": {"encoder_options": {"widths": [8, 16]}, "start": "first"},
}


def trained(chosen: Params, name: str) -> dict[str, Any]:
    """Run the stage `pretrain`; the config that it leaves."""
    pretrain.pretrain(chosen, Silence(), run=name)  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads(Path(f"models/{name}/config.json").read_text())
    return found


def test_a_run_goes_on_from_another_and_depends_on_its_weights(project: Path) -> None:
    chosen = params(TWO)
    with pytest.raises(UserError, match=r"models/first/config\.json: not found; run"):
        trained(chosen, "second")
    first = trained(chosen, "first")
    assert (first["start"], first["start_digest"]) == ("none", None)
    weights = load_file("models/first/encoder.safetensors")
    begun = pretrain.construct(chosen, "second").encoder.state_dict()
    assert all(torch.equal(begun[key], value) for key, value in weights.items())
    second = trained(chosen, "second")
    assert (second["start"], second["start_digest"]) == ("first", first["sha256"])
    assert second["sha256"] != first["sha256"]

    items = dataset.pool(Path("data/image")).items
    before = pretrain._fingerprint(chosen, "second", items)
    assert pretrain._fingerprint(chosen, "second", items) == before
    weights["stages.0.0.weight"] += 1
    save_file(weights, "models/first/encoder.safetensors")
    with pytest.raises(UserError, match=r"not what its config\.json describes; `glean run first`"):
        pretrain._fingerprint(chosen, "second", items)
    config = first | {"sha256": None}
    Path("models/first/config.json").write_text(json.dumps(config | {"sha256": digest()}))
    assert pretrain._fingerprint(chosen, "second", items) != before


def digest() -> str:
    from modalities.common.network.trained import sha256

    return sha256(Path("models/first/encoder.safetensors"))


def test_what_does_not_fit_names_the_run_and_the_tensor(project: Path) -> None:
    trained(params(TWO), "first")
    wider = TWO | {"second": {"encoder_options": {"widths": [8, 24]}, "start": "first"}}
    with pytest.raises(UserError, match=r"image\.runs\.second\.start: the weights of 'first' do "
                       r"not fit: expected stages\.1\.0\.weight of shape \(24, 8"):  # fmt: skip
        trained(params(wider), "second")
    assert not Path("models/second").exists()


def test_a_run_leaves_what_its_objective_keeps(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalities.image.objectives.rotation import Rotation

    def kept(self: Rotation) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "head": self.head}

    monkeypatch.setattr(Rotation, "kept", kept)
    trained(params(TWO), "first")
    assert set(load_file("models/first/head.safetensors")) == {"weight", "bias"}
    assert opened("first").encoder().dim == 16


@pytest.mark.parametrize(
    ("name", "published", "own"),
    [
        ("resnet18", {"stem": "standard"}, {}),
        (TIMM, {"size": 64, "patch": 8}, {"size": 16, "patch": 4}),
    ],
)
def test_published_weights_are_gone_on_from(
    project: Path, name: str, published: dict[str, Any], own: dict[str, Any]
) -> None:
    """The library's own file in, continued pretraining on little data, an encoder out."""
    save_file(native(name).state_dict(), "theirs.safetensors")
    theirs = {"encoder": name, "file": "theirs.safetensors", "encoder_options": published}
    chosen = params(
        {"on": {"encoder": name, "encoder_options": own, "start": "theirs"}}, {"theirs": theirs}
    )
    checkpoint(chosen, Silence(), checkpoint="theirs")  # type: ignore[arg-type]
    begun = pretrain.construct(chosen, "on").encoder
    blocks = [key for key in begun.state_dict() if "blocks.0" in key or "stages.1" in key]
    assert blocks
    for key in blocks:
        assert torch.equal(begun.state_dict()[key], opened("theirs").tensors[key])
    config = trained(chosen, "on")
    assert config["start_digest"] == opened("theirs").digest
    after = opened("on").encoder()
    assert after(torch.zeros(2, 3, 16, 16)).isfinite().all()


def test_a_chain_through_the_command_line(project: Path) -> None:
    """Two runs, each in a process of its own, as the stages of dvc.yaml are."""
    import subprocess
    import sys

    text = """
training: {precision: fp32}
image:
  source: raw
  labels: raw
  size: 16
  runs:
    first: {objective: rotation, start: none, encoder_options: {widths: [8, 16]}, epochs: 1,
      batch_size: 8}
    second: {objective: rotation, start: first, encoder_options: {widths: [8, 16]}, epochs: 1,
      batch_size: 8}
"""
    (project / "params.yaml").write_text(text)
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    said = []
    for name in ("second", "first", "second"):
        done = subprocess.run(
            [sys.executable, "-m", "tasks", "pretrain", name],
            cwd=project, env=env, text=True, capture_output=True, check=False,
        )  # fmt: skip
        said.append((done.returncode, done.stdout + done.stderr))
    assert said[0][0] == 1 and "models/first/config.json: not found" in said[0][1]
    assert "Traceback" not in said[0][1]
    assert [code for code, _ in said[1:]] == [0, 0], said
    assert "begins with the weights of first" in said[2][1]
    assert opened("second").config["start_digest"] == opened("first").digest
