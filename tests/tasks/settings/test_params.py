"""params.yaml: every mistake is refused before anything runs, by name, with the nearest match."""

import ast
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from modalities.items import UserError
from tasks.settings import options
from tasks.settings.params import PARAMS, load

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = (ROOT / PARAMS).read_text("utf-8")


def refused(tmp_path: Path, old: str, new: str) -> str:
    assert old in DEFAULT, "the test's premise"
    path = tmp_path / "params.yaml"
    path.write_text(DEFAULT.replace(old, new, 1), "utf-8")
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def test_the_default_is_valid() -> None:
    params = load(ROOT / PARAMS)
    assert params.modality_of("rotation") == "image"
    assert params.run("moco_v2").objective == "moco_v2"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("objective: rotation", "objectiv: rotation", ["objectiv", "did you mean 'objective'"]),
        ("objective: rotation", "objective: rotatoin", ["rotatoin", "did you mean 'rotation'"]),
        ("  size: 32", "  size: thirty", ["image.size", "'thirty'", "integer"]),
        ("  size: 32", "  size: '32'", ["image.size", "'32'"]),
        ("  size: 32", "  size: 0", ["image.size", "0", "greater than or equal to 8"]),
        ("precision: bf16", "precision: bf61", ["training.precision", "did you mean 'bf16'"]),
        ("majority", "majorty", ["image.controls", "did you mean 'majority'"]),
        ("make: [image,", "make: [imgae,", ["playroom.make", "did you mean 'image'"]),
        (
            "\nimage:",
            "\nimages:",
            ["images: unknown key", "did you mean 'image'", "image: missing"],
        ),
        ("classification:", "clasification:", ["did you mean 'classification'"]),
        ("    classification: {", "    classification: {drwas: 3, ", ["did you mean 'draws'"]),
        ("    rotation: {", "    Rot-1: {", ["Rot-1", "small letters"]),
        (
            "    rotation: {",
            "    rotation: {options: {angel: 3}, ",
            ["image.runs.rotation.options.angel"],
        ),
        (
            "    rotation: {",
            "    rotation: {weight_decay: -1.0, ",
            ["weight_decay", "-1.0", "greater than or equal to 0"],
        ),
        ("    rotation: {", "    rotation: {encoder: smal, ", ["encoder", "did you mean 'small'"]),
        ("playroom: ", "playroom: [", ["not valid YAML"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    message = refused(tmp_path, old, new)
    for part in expected:
        assert part in message


def test_the_line_is_given(tmp_path: Path) -> None:
    message = refused(tmp_path, "  size: 32", "  size: 0")
    line = DEFAULT[: DEFAULT.index("\n  size: 32")].count("\n") + 2
    assert f"params.yaml:{line}:" in message


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        DEFAULT.replace("  size: 32", "  size: 0", 1).replace("seed: 0", "sed: 0"), "utf-8"
    )
    with pytest.raises(UserError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("task", "auxiliary", "expected"),
    [
        ("{}", "rotation", ""),
        ("{pretext: jigsaw}", "jigsaw", ""),
        ("{}", "none", "found 'none'; tasks.few_shot trains rotation beside; expected 'rotation'"),
        ("{pretext: jigsaw}", "rotation", "found 'rotation'; tasks.few_shot trains jigsaw beside"),
        ("", "jigsaw", "found 'jigsaw'; no task trains one; expected 'none'"),
    ],
)
def test_auxiliary_names_what_few_shot_trains_beside(
    tmp_path: Path, task: str, auxiliary: str, expected: str
) -> None:
    """dvc.yaml depends on `modalities/image/objectives/${image.auxiliary}.py`."""
    image, rest = DEFAULT.split("\nvideo:")
    few_shot = f"    few_shot: {task}\n" if task else ""
    image = image.replace("    classification: {", f"{few_shot}    classification: {{", 1)
    image = image.replace("  auxiliary: none", f"  auxiliary: {auxiliary}", 1)
    path = tmp_path / "params.yaml"
    path.write_text(f"{image}\nvideo:{rest}", "utf-8")
    if not expected:
        assert load(path).section("image").auxiliary == auxiliary
        return
    with pytest.raises(UserError) as caught:
        load(path)
    (message,) = str(caught.value).splitlines()
    line = image[: image.index("\n  auxiliary")].count("\n") + 2
    assert f"params.yaml:{line}: image.auxiliary: {expected}" in message


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start from the project's folder"):
        load(tmp_path / "params.yaml")


METHOD = """
class Sketch(Objective):
    def __init__(self, encoder, *, width: Annotated[int, Gt(0)] = 3, kind: Literal["a", "b"] = "a",
                 sizes: list[int] = [1, 2], much: float | None = None):
        pass
"""


def test_a_method_s_signature_is_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "sketch.py"
    path.write_text(METHOD, "utf-8")
    model = options.schema(path, "Objective")
    assert model().model_dump() == {"width": 3, "kind": "a", "sizes": [1, 2], "much": None}
    for wrong in ({"width": 0}, {"width": 1.5}, {"kind": "c"}, {"depth": 1}):
        with pytest.raises(ValidationError):
            model.model_validate(wrong)


def test_a_parse_beside_another_thread_s_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disturbed.py"
    path.write_text(METHOD, "utf-8")
    parse, texts = ast.parse, []

    def disturbed(text: str) -> ast.Module:
        texts.append(text)
        if len(texts) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=99, after=77)")
        return parse(text)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert options.schema(path, "Objective")().model_dump()["width"] == 3
    assert texts == [METHOD, METHOD]


def test_an_option_without_default_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.py"
    path.write_text("class Bare(Objective):\n    def __init__(self, encoder, *, width: int): ...\n")
    with pytest.raises(UserError, match="width needs an annotation and a default"):
        options.schema(path, "Objective")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("encoder: resnet81", "did you mean 'resnet18'"),
        ("encoder: resnet18, encoder_options: {stem: smal}", "did you mean 'small'"),
        ("encoder_options: {width: [3]}", "did you mean 'widths'"),
        ("encoder_options: {widths: [3, x]}", "encoder_options.widths.1: found 'x'"),
        ("encoder_options: 3", "encoder_options"),
    ],
)
def test_encoders_are_checked_without_importing_them(
    tmp_path: Path, run: str, expected: str
) -> None:
    assert expected in refused(tmp_path, "    rotation: {", f"    rotation: {{{run}, ")


def test_any_torchvision_backbone_is_known() -> None:
    for name in ("resnet18", "resnet50", "wide_resnet50_2", "convnext_tiny", "regnet_y_400mf"):
        assert options.encoder("image", name).schema is not None


def test_a_section_that_the_stages_need_is_missed_by_name(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text("utf-8")
    start, end = text.index("\nshape:"), text.index("\nreport:")
    (tmp_path / "params.yaml").write_text(text[:start] + text[end:], "utf-8")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    with pytest.raises(UserError, match=r"shape: missing, and dvc.yaml has stages of it; copy"):
        load(tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").unlink()
    assert load(tmp_path / "params.yaml").shape.runs == {}
