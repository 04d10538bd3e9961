"""What dvc.yaml says that a stage depends on is what its code imports, no less and no more."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks import sources
from tasks.__main__ import STAGES
from tasks.settings import options
from tasks.settings.params import MODALITIES, Params, load
from tasks.wiring import Wired, wired

ROOT = Path(__file__).resolve().parents[1]
CODE = ("tasks/", "modalities/")
RUNS = "tasks.settings.runs"
PROFILES = ("default", "lecture", "paper")


@cache
def params(profile: str) -> Params:
    return load(ROOT / "profiles" / f"{profile}.yaml")


@cache
def stages(profile: str) -> list[Wired]:
    """Every stage of dvc.yaml with the parameters of a profile."""
    return list(wired(params(profile).model_dump(mode="json")).values())


def closure(profile: str, stage: Wired) -> set[str]:
    """The files that decide what a stage leaves."""
    name, *values = stage.cmd.removeprefix("python -m tasks ").split()
    named = dict(zip(STAGES[name][1], values, strict=True))
    return files(sources.roots(params(profile), name, **named))


def lies_in(file: str, room: str) -> bool:
    return file == room or file.startswith(f"{room}/")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_stage_names_the_code_that_it_reaches(profile: str) -> None:
    for stage in stages(profile):
        found = closure(profile, stage)
        missing = {f for f in found if not any(lies_in(f, dep) for dep in stage.deps)}
        assert not missing, f"{stage.name}: dvc.yaml does not name {sorted(missing)}"


def variants() -> Iterator[tuple[str, dict[str, str], set[str]]]:
    """(group of stages, what fills its templates, the files reached) for every method there is."""
    for modality in MODALITIES:
        home = options.home(modality)
        for labeler in options.names(modality, "labelers"):
            roots = ["tasks.label", *sources.of_labels(modality, labeler), RUNS]
            yield f"label-{modality}", {"item.labeler": labeler}, files(roots)
        for objective in options.names(modality, "objectives"):
            roots = ["tasks.pretrain.__main__", *sources.of_pretraining(modality, objective), RUNS]
            yield f"pretrain-{modality}", {"item.objective": objective}, files(roots)
        for task in options.names(home, "tasks"):
            roots = ["tasks.transfer", f"modalities.{home}.tasks.{task}",
                     f"modalities.{modality}.network", RUNS]  # fmt: skip
            for group in ("transfer", "transfer-checkpoint", "control"):
                yield f"{group}-{modality}", {"item.task": task}, files(roots)


def files(roots: list[str]) -> set[str]:
    return {path.as_posix() for path in sources.reached(roots)}


def test_any_method_that_params_yaml_may_name_is_covered_and_every_room_is_needed() -> None:
    """Of a group such as transfer-image one stage at least, in some profile, reaches each room."""
    written = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    named: dict[str, set[str]] = defaultdict(set)
    reached: dict[str, set[str]] = defaultdict(set)
    for group, filled, found in variants():
        if group not in written:
            continue  # clips have no controls of their own
        body = written[group]
        deps = [_filled(dep, filled) for dep in body.get("do", body)["deps"]]
        missing = {f for f in found if not any(lies_in(f, dep) for dep in deps)}
        assert not missing, f"{group}, {filled}: dvc.yaml does not name {sorted(missing)}"
        named[group] |= {dep for dep in deps if dep.startswith(CODE) and "${" not in dep}
        reached[group] |= found
    for profile in PROFILES:
        for stage in stages(profile):
            group = stage.name.partition("@")[0]
            named[group] |= {dep for dep in stage.deps if dep.startswith(CODE)}
            reached[group] |= closure(profile, stage)
    del named["report"]  # of all code: what was changed is left out of the page
    for group, rooms in named.items():
        idle = {r for r in rooms if not any(lies_in(f, r) for f in reached[group])}
        idle -= {r for r in rooms if r.endswith("/objectives/none.py")}  # it stands for none
        assert not idle, f"{group}: dvc.yaml names {sorted(idle)}, which no stage of it reaches"


def _filled(dep: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        dep = dep.replace(f"${{{name}}}", value)
    return dep


FORGOTTEN = {  # what lists made by hand once left out
    "pretrain-shape@convexity": "tasks/pretrain/pictures.py",
    "pretrain-audio@sound_clusters": "tasks/pretrain/pictures.py",
    "pretrain-video@ambient": "modalities/image/network/timm_nets.py",
    "transfer-audio@sound_clusters-classification": "modalities/audio/sound/spectrogram.py",
    "control-audio@mfcc-classification": "modalities/audio/sound/spectrogram.py",
    "label-shape@convex": "modalities/shape/reading/partnet.py",
    "ingest-shape": "modalities/shape/drawing/pictures.py",
    "pretrain-image@rotation": "tasks/settings/runs.py",
}


@pytest.mark.parametrize(("stage", "file"), FORGOTTEN.items())
def test_what_was_forgotten_once_is_named_and_reached(stage: str, file: str) -> None:
    found = next(each for each in stages("default") if each.name == stage)
    assert any(lies_in(file, dep) for dep in found.deps)
    assert file in closure("default", found)


def test_a_clips_items_are_read_anew_when_a_sounds_reader_changes() -> None:
    """The key of the item cache is a digest of what `modalities.video.reading` reaches."""
    found = files(["modalities.video.reading"])
    assert {"modalities/video/clips.py", "modalities/audio/reading/readers.py"} <= found


def reruns(*edited: str) -> set[str]:
    """The stages of the default run that some edited files run anew, what follows included."""
    dirty: set[str] = set()
    outs: set[str] = set()
    left = stages("default")
    while True:
        more = [s for s in left if s.name not in dirty and _reads(s, set(edited) | outs)]
        if not more:
            return dirty - {"report"}  # it is of all code
        dirty |= {s.name for s in more}
        outs |= {out for s in more for out in s.outs if not out.endswith(".json")}


def _reads(stage: Wired, changed: set[str]) -> bool:
    return any(lies_in(file, dep) or lies_in(dep, file) for file in changed for dep in stage.deps)


def test_an_edit_runs_its_own_stage_and_what_follows_from_it() -> None:
    edits = {
        "modalities/image/objectives/rotation.py": 2,  # pretraining, and its transfer
        "modalities/image/objectives/jigsaw.py": 0,  # no run of the default's
        "modalities/image/pretext/tiles.py": 4,  # two runs of pictures, and their transfers
        "modalities/image/tasks/classification.py": 8,
        "modalities/image/network/augmentation.py": 11,
        "modalities/shape/labelers/convex_decomposition.py": 3,
        "modalities/audio/labelling/texture.py": 6,
        "modalities/audio/objectives/clusters.py": 2,
        "modalities/common/measuring/knn.py": 15,
        "tasks/playroom/materials.py": 31,
    }
    assert {file: len(reruns(file)) for file in edits} == edits
    assert reruns("modalities/image/objectives/rotation.py") == {
        "pretrain-image@rotation", "transfer-image@rotation-classification",
    }  # fmt: skip
