"""The licences of everything that is installed with Gleaner: `make licences`.

    python -m benchmarks.licences

Exits with 1 where one forbids use or is unknown. What each is for: docs/dependencies.md.
"""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

FORBIDS = re.compile(
    r"non-?commercial|\bnc\b|no-?deriv|\bnd\b|proprietary|academic|research only|evaluation"
    r"|business source|\bbusl\b|unknown|^$",
    re.I,
)
TEXTS = {
    "MIT": "Permission is hereby granted, free of charge, to any person",
    "BSD": "Redistribution and use in source and binary forms, with or without modification, are",
}
# Names begin so -> why it may be used all the same.
ALLOWED = {
    "nvidia-": "CUDA's libraries, of which torch's wheels for Linux on x86-64 are made; free of"
    " charge for any use, commercial too, on NVIDIA's own terms; torch for CPUs has none of them",
}


def closure(name: str, extras: tuple[str, ...] = ()) -> dict[str, Distribution]:
    """What a distribution needs, what that needs and so on, as far as it is installed here."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    left = [(name, extras)]
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        try:
            here = distribution(each[0])
        except PackageNotFoundError:
            continue  # for another system
        found[normal(here.metadata["Name"])] = here
        left += [_key(r) for r in map(Requirement, here.requires or ()) if _wanted(r, each[1])]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _key(wanted: Requirement) -> tuple[str, tuple[str, ...]]:
    return normal(wanted.name), tuple(sorted(wanted.extras))


def _wanted(wanted: Requirement, extras: tuple[str, ...]) -> bool:
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in (*extras, ""))


def licence(of: Distribution) -> str:
    """What the metadata says in a line, else which licence its text is; empty where unknown."""
    fields = (of.metadata.get_all(name) for name in ("License-Expression", "License"))
    told = next((found[0] for found in fields if found), "") or _classified(of)
    return told if told and "\n" not in told else _classified(of) or _known(told or _text(of))


def _classified(of: Distribution) -> str:
    told = of.metadata.get_all("Classifier") or []
    found = [line.rsplit(" :: ", 1)[1] for line in told if line.startswith("License :: ")]
    return " / ".join(found)


def _text(of: Distribution) -> str:
    files = (f for f in of.files or () if re.search(r"licen[cs]e|copying", f.name, re.I))
    return "\n".join(f.read_text("utf-8") for f in files)


def _known(text: str) -> str:
    return next((name for name, says in TEXTS.items() if says in " ".join(text.split())), "")


def obstacle(name: str, of: Distribution) -> str:
    """Why it may not be used; empty where it may."""
    if any(name.startswith(allowed) for allowed in ALLOWED):
        return ""
    told = licence(of)
    for text in (told, _classified(of) or told):
        if FORBIDS.search(text):
            return f"{name}: {text or 'no licence is named'}"
    return ""


def megabytes(of: Distribution) -> float:
    return sum(file.size or 0 for file in of.files or ()) / 1e6


def main() -> int:
    packages = sorted(closure("gleaner").items())
    print(f"{'package':32} {'version':14} {'MB':>7}  licence")
    for name, each in packages:
        print(f"{name:32} {each.version:14} {megabytes(each):7.1f}  {licence(each)}")
    for name, why in ALLOWED.items():
        print(f"\n{name}*: {why}.")
    bad = [text for name, each in packages if name != "gleaner" and (text := obstacle(name, each))]
    print("\n" + ("\n".join(bad) or f"{len(packages)} packages, none that forbids use."))
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
