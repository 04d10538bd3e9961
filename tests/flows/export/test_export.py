"""An exported encoder computes the same as the trained one, where there is no Gleaner."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import report_world as world

from flows.export import card, export
from modalities.items import UserError
from tasks.settings import params

ROOT = Path(__file__).resolve().parents[3]
SIZE, DIM = 16, 12
FILES = ["README.md", "config.json", "encoder.onnx", "encoder.pt2", "encoder.safetensors"]
PARAMS = """
image:
  source: /home/somebody/private
  labels: /home/somebody/private
  size: 16
  runs:
    turned: {objective: rotation, encoder_options: {widths: [6, 12]}, epochs: 3, batch_size: 8}
    fresh: {objective: rotation}
  controls: [scratch, random]
  tasks:
    classification: {}
"""
# Runs elsewhere: no name of ours can be imported there.
ELSEWHERE = """
import sys
for name in ("flows", "tasks", "modalities"):
    sys.modules[name] = None  # the installation is in site-packages: this makes an import fail
try:
    import modalities
except ImportError:
    pass
else:
    raise SystemExit("it can be imported")
import numpy, onnxruntime, torch
from safetensors.torch import load_file

x = numpy.load("x.npy")
program = torch.export.load("encoder.pt2").module()
with torch.no_grad():
    torch_out = program(torch.from_numpy(x)).numpy()
    alone = program(torch.from_numpy(x[:1])).numpy()
    program.load_state_dict(load_file("encoder.safetensors"))
    loaded = program(torch.from_numpy(x)).numpy()
session = onnxruntime.InferenceSession("encoder.onnx", providers=["CPUExecutionProvider"])
assert [i.name for i in session.get_inputs()] == ["pictures"]
onnx_out = session.run(["features"], {"pictures": x})[0]
onnx_alone = session.run(["features"], {"pictures": x[:1]})[0]
numpy.savez("found.npz", torch=torch_out, alone=alone, loaded=loaded, onnx=onnx_out,
            onnx_alone=onnx_alone)
"""


def row(run: str, budget: int | str, mean: float, val: float, protocol: str = "linear") -> dict:
    return {
        "learner": run, "protocol": protocol, "budget": budget, "metric": "accuracy",
        "higher_is_better": True, "draws": 3, "values": [mean] * 3, "mean": mean,
        "low": mean - 0.1, "high": mean + 0.1, "chosen": {"val": val},
    }  # fmt: skip


def write_results(folder: Path, rows: list[dict]) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"rows": rows, "skipped": []}))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """models/turned as training leaves it, with batch statistics that are not the initial ones."""
    import torch

    from tasks import pretrain

    root = tmp_path_factory.mktemp("export")
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text("stages: {}\n")
    found = params.load(root / "params.yaml")
    objective = pretrain.construct(found, "turned")
    encoder = objective.encoder
    with torch.no_grad():
        for _ in range(3):
            encoder.train()(3 * torch.randn(8, 3, SIZE, SIZE) + 1)
    (root / "models/turned").mkdir(parents=True)
    history = [{"step": 3, "loss": 1.25, "feature_spread": 0.5, "effective_rank": 7.0}]
    made = (history, pretrain.plan_of(found, "turned"), 40)
    pretrain._write(root / "models/turned", found, "turned", objective, made)
    return root, encoder.eval()


@pytest.fixture(scope="module")
def exported(project):
    """Through the command line; its output."""
    root, encoder = project
    done = subprocess.run(
        [sys.executable, "-W", "default", "-m", "flows", "export", "turned", "out/encoder"],
        cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root / "out/encoder", encoder, done


def test_the_terminal_shows_where_it_is_and_nothing_else(exported) -> None:
    folder, _, done = exported
    assert done.stdout == f"{folder}\n"
    assert done.stderr == ""
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert [p.name for p in folder.parent.iterdir()] == ["encoder"], "no leftovers"


def test_it_computes_the_same_without_gleaner(exported) -> None:
    import torch

    folder, encoder, _ = exported
    x = np.random.default_rng(0).normal(size=(5, 3, SIZE, SIZE)).astype(np.float32)
    np.save(folder / "x.npy", x)
    command = [sys.executable, "-I", "-W", "ignore", "-c", ELSEWHERE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = encoder(torch.from_numpy(x)).numpy()
    assert expected.shape == (5, DIM)
    assert expected.std() > 0.01
    found = np.load(folder / "found.npz")
    for name in ("torch", "loaded", "onnx"):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    for name in ("alone", "onnx_alone"):
        np.testing.assert_allclose(found[name], expected[:1], rtol=1e-4, atol=1e-5, err_msg=name)


def test_nothing_tells_of_this_machine_or_the_data_s_place(exported) -> None:
    folder, _, _ = exported
    for name in FILES:
        content = (folder / name).read_bytes()
        for secret in (str(ROOT), str(folder.parents[1]), sys.prefix, "/home/somebody"):
            assert secret.encode() not in content, (name, secret)


def test_config_says_what_goes_in_and_comes_out(exported) -> None:
    folder, _, _ = exported
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["objective"] == "rotation"
    assert config["input"]["shape"] == ["B", 3, SIZE, SIZE]
    assert config["output"] == ["B", DIM]
    # the stated normalisation is the one that the pipeline uses
    import torch

    from modalities.image.network import prepare

    pixels = np.arange(SIZE * SIZE * 3, dtype=np.uint8).reshape(1, SIZE, SIZE, 3)
    given = config["input"]
    stated = (pixels * given["scale"] - given["mean"]) / given["std"]
    ours = prepare(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(stated.transpose(0, 3, 1, 2), ours, atol=1e-5)


def test_the_card_tells_what_is_known(project, exported, monkeypatch) -> None:
    root, _ = project
    monkeypatch.chdir(root)
    folder, _, _ = exported
    text = (folder / "README.md").read_text("utf-8")
    assert "Gidaris" in text
    assert "40 images, without their labels |" in text
    assert "None yet" in text, "there are no results"
    write_results(
        root / "results/turned/classification",
        [row("pretrained", "all", 0.8, 0.7), row("pretrained", 5, 0.5, 0.6),
         row("pretrained", 5, 0.6, 0.1, "knn")],
    )  # fmt: skip
    for name in ("scratch", "random"):
        write_results(root / f"results/image-{name}/classification", [row(name, 5, 0.3, 0.2)])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    text = card.text(params.load(), "turned", config)
    assert "None yet" in text, "nothing says what they were measured on"
    world.recorded(params.load())
    lines = card.text(params.load(), "turned", config).splitlines()
    start = lines.index("| learner | protocol | 5 | all |")
    assert lines[start + 2] == (
        "| turned | linear | 0.500 (0.400 to 0.600) | 0.800 (0.700 to 0.900) |"
    ), "validation chose linear, though knn has the better test figure"
    controls = {line.split("|")[1].strip(): line for line in lines[start + 3 : start + 5]}
    assert controls.keys() == {"scratch", "random"}
    assert controls["scratch"].endswith("| 0.300 (0.200 to 0.400) | - |")
    assert "another encoder" not in "\n".join(lines)
    path = root / "results/turned/classification/metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "other_encoder": "vit"}))
    assert "both with another encoder" in card.text(params.load(), "turned", config)


def test_mistakes_are_told_in_plain_words(project, tmp_path, monkeypatch) -> None:
    root, _ = project
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=r"no run named 'turnt'.*'turned'"):
        export("turnt", tmp_path / "a")
    with pytest.raises(UserError, match="not trained yet; `glean run fresh`"):
        export("fresh", tmp_path / "a")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"full: is not empty"):
        export("turned", full)
    with pytest.raises(UserError, match=r"thesis.tex: is a file"):
        export("turned", full / "thesis.tex")
    with pytest.raises(UserError, match="cannot be written"):
        export("turned", full / "thesis.tex" / "below")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    assert (full / "thesis.tex").read_text() == "mine"


def test_damaged_weights_are_not_given_away(project, tmp_path, monkeypatch) -> None:
    import shutil

    root, _ = project
    shutil.copytree(root / "models", tmp_path / "models")
    shutil.copy(root / "params.yaml", tmp_path)
    path = tmp_path / "models/turned/encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"not what its config\.json describes"):
        export("turned", tmp_path / "out")
    assert not (tmp_path / "out").exists()
