"""Nothing that Gleaner needs forbids its use, and docs/dependencies.md knows every dependency."""

import re
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.licences import closure, licence, normal, obstacle

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_nothing_that_is_needed_forbids_its_use() -> None:
    found = closure("gleaner")
    del found["gleaner"]
    assert {"torch", "prefect", "numpy", "networkx"} <= set(found), "what they need is there, too"
    assert not [text for name, each in found.items() if (text := obstacle(name, each))]


@pytest.mark.parametrize(
    ("lines", "text", "fine"),
    [
        ("License-Expression: MIT", "", True),
        ("License: BSD", "", True),
        ("Classifier: License :: OSI Approved :: MIT License", "", True),
        ("", "Copyright ...\nPermission is hereby granted,\nfree of charge, to any person", True),
        ("", "Copyright ... All rights reserved.", False),
        ("License: MIT\nClassifier: License :: Other/Proprietary License", "", False),
        ("License: CC-BY-NC-4.0", "", False),
        ("License-Expression: CC-BY-ND-4.0", "", False),
        ("License: Free for non-commercial use", "", False),
        ("License: UNKNOWN", "", False),
        ("", "", False),
    ],
)
def test_what_forbids_use_is_seen(tmp_path: Path, lines: str, text: str, fine: bool) -> None:
    info = tmp_path / "x-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: x\nVersion: 1\n{lines}\n", "utf-8"
    )
    (info / "LICENSE").write_text(text, "utf-8")
    (info / "RECORD").write_text("x-1.dist-info/METADATA,,\nx-1.dist-info/LICENSE,,\n", "utf-8")
    here = Distribution.at(info)
    assert (obstacle("x", here) == "") is fine, licence(here)


def test_every_direct_dependency_has_a_line() -> None:
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    told = {normal(name) for name in re.findall(r"^\| `([\w.-]+)`", page, re.M)}
    extra = PROJECT["optional-dependencies"].values()
    asked = [*PROJECT["dependencies"], *(line for lines in extra for line in lines)]
    assert told == {normal(Requirement(line).name) for line in asked} - {"gleaner"}


def test_the_licence_is_named_where_people_and_tools_look() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    notice = "Copyright 2026 The Gleaner authors"
    assert all(notice in (ROOT / name).read_text("utf-8") for name in ("LICENSE", "README.md"))
