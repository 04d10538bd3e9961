"""Published weights in place of a run: files of every kind, mistakes, and the stages."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modalities.base import UserError
from modalities.image import published
from modalities.image.network.factory import build
from tasks.results import expected_results
from tasks.settings.params import load
from tests.tasks.transfer.test_transfer_stage import PARAMS, ingested, stage

CHECKPOINTS = """
  checkpoints:
    theirs: {encoder: resnet18, file: theirs.safetensors, encoder_options: {stem: standard}}
"""


def native(name: str) -> nn.Module:
    """The network as its library makes it, with its classifier and statistics that tell."""
    torch.manual_seed(0)
    if name.startswith("timm/"):
        import timm

        model: nn.Module = timm.create_model(name.removeprefix("timm/"))
    else:
        from torchvision.models import get_model

        model = get_model(name)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_mean"):
                value.normal_()
    return model.eval()


def features(model: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    """What comes out before the classifier, by the library's own functions."""
    if name.startswith("timm/"):
        maps: torch.Tensor = model.forward_features(x)
        return maps[:, 1:].mean(1) if maps.ndim == 3 else maps.mean((2, 3))
    if hasattr(model, "fc"):
        model.fc = nn.Identity()
        found: torch.Tensor = model(x)
        return found
    return model.features(x).mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "timm/resnet18", "timm/regnety_002",
     "timm/vit_tiny_patch16_224"],
)  # fmt: skip
def test_a_file_with_the_library_s_own_names(tmp_path: Path, name: str, suffix: str) -> None:
    model = native(name)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": model.state_dict()}, path)
    else:
        save_file(model.state_dict(), path)
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        found = published.load(name, path).eval()(x)
        torch.testing.assert_close(found, features(model, name, x), rtol=1e-4, atol=1e-4)


def test_positions_and_patches_are_made_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(native("timm/vit_tiny_patch16_224").state_dict(), path)
    encoder = published.load("timm/vit_tiny_patch16_224", path, size=32, patch=8).eval()
    assert encoder.tokens(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 192)


def test_a_file_of_our_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, options in (("small", {"widths": [8, 16]}), ("resnet18", {"stem": "small"})):
        encoder = build(name, **options)
        path = tmp_path / f"{name}.safetensors"
        save_file(encoder.state_dict(), path)
        found = published.load(name, path, **options).state_dict()
        assert all(torch.equal(found[key], value) for key, value in encoder.state_dict().items())


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="expected a file of weights, found none"):
        published.load("small", path)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="not a file of weights"):
        published.load("small", path)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"expected a tensor for stages\.0.*, found none"):
        published.load("resnet18", path)
    with pytest.raises(UserError, match=r"expected a tensor for conv1\.weight, found none"):
        published.load("timm/resnet18", path)
    wide = native("resnet18").state_dict() | {"layer1.0.conv1.weight": torch.zeros(8, 64, 3, 3)}
    save_file(wide, path)
    with pytest.raises(UserError, match=r"of shape \(64, 64, 3, 3\), found \(8, 64, 3, 3\)"):
        published.load("resnet18", path)
    torch.save(["a", "list"], tmp_path / "w.pth")
    with pytest.raises(UserError, match="expected tensors by name, found list"):
        published.load("small", tmp_path / "w.pth")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with published weights in it."""
    module = "tests.tasks.transfer.test_transfer_stage"
    monkeypatch.setattr(f"{module}.PARAMS", PARAMS.rstrip() + CHECKPOINTS)
    save_file(native("resnet18").state_dict(), tmp_path / "theirs.safetensors")
    ingested(tmp_path / "data/image", labelled=True)
    return tmp_path


@pytest.mark.slow
def test_they_are_measured_beside_the_runs(place: Path) -> None:
    done = stage(place, "checkpoint", "theirs")
    assert done.returncode == 0, done.stderr
    config = json.loads((place / "models/theirs/config.json").read_text())
    assert (config["encoder"], config["objective"], config["dim"]) == ("resnet18", None, 512)
    done = stage(place, "transfer", "theirs", "classification")
    assert done.returncode == 0, done.stderr
    costs = {json.loads(p.read_text())["stage"] for p in (place / ".gleaner/costs").iterdir()}
    assert costs == {"checkpoint-image@theirs", "transfer-checkpoint-image@theirs-classification"}
    metrics = json.loads((place / "results/theirs/classification/metrics.json").read_text())
    assert {row["protocol"] for row in metrics["rows"]} == {"linear", "knn", "finetune"}
    found = [p for p in expected_results(load(place / "params.yaml")) if p.run == "theirs"]
    assert [(p.control, p.stage) for p in found] == [
        (True, "transfer-checkpoint-image@theirs-classification")
    ]
    done = stage(place, "pretrain", "theirs")
    assert "'theirs' are published weights, not a run" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("encoder: resnet18,", "encoder: resnet81,", "did you mean 'resnet18'"),
        ("stem: standard", "stem: normal", "encoder_options.stem"),
        ("theirs: {", "one: {", "the name is taken by image.runs.one"),
        ("theirs: {", "The-irs: {", "small letters, digits and _ only"),
        ("file: theirs.safetensors", "fil: theirs.safetensors", "did you mean 'file'"),
    ],
)
def test_mistaken_settings_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((PARAMS.rstrip() + CHECKPOINTS).replace(old, new, 1))
    with pytest.raises(UserError, match=expected):
        load(path)


def test_nobody_publishes_weights_of_our_own_networks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody has published weights for 'small'"):
        published.download("small", tmp_path / "w.safetensors")
