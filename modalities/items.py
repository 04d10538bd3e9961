"""The part of the contracts that readers need, free of torch: ingest must start in a blink."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class UserError(Exception):
    """A mistake of the user's (file, key, value): shown as one clear message, never a traceback."""


@dataclass(frozen=True)
class Item:
    """One thing found in a source, not read yet. `label` None: unlabelled; `split` None: ours."""

    source: str  # path relative to the source folder, "/" separated
    label: str | None = None
    split: str | None = None  # train | val | test
    extra: Mapping[str, Any] = field(default_factory=dict)  # JSON-able: what richer tasks need
