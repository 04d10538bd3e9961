"""The options of every method: names, types, constraints and defaults are what is written down.

tests/option_schemas.txt has them; what is meant to change: `python tests/test_option_schemas.py`.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.settings import options

WRITTEN = Path(__file__).with_name("option_schemas.txt")
MODALITIES = ("audio", "image", "shape", "video")
ENCODERS = ("small", "vit", "transformer", "resnet18", "timm/resnet18", f"timm/{options.VIT}")


def schemas() -> Iterator[tuple[str, options.Found]]:
    for modality in MODALITIES:
        for kind in ("objectives", "labelers", "tasks"):
            for name in options.names(modality, kind):
                yield modality, options.method(modality, kind, name)
        for name in ENCODERS:
            yield modality, options.encoder(modality, name)


def lines() -> list[str]:
    found = []
    for modality, each in schemas():
        where = f"{modality} {each.kind} {each.name}"
        fields = {} if each.schema is None else each.schema.model_fields
        for name, field in sorted(fields.items()):
            kind = f"{field.annotation} {field.metadata}".replace("typing.", "")
            found.append(f"{where}.{name}: {kind} = {field.default!r}")
    return sorted(found)


def test_every_option_is_as_written() -> None:
    assert lines() == WRITTEN.read_text("utf-8").splitlines()


if __name__ == "__main__":
    WRITTEN.write_text("\n".join(lines()) + "\n", "utf-8")
