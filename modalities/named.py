"""What a name in params.yaml stands for: the name is the module's path, there is no registry."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from modalities.base import Network, Reading


def reading(modality: str) -> "Reading":
    """The half of a modality that reads files; imports no torch."""
    return cast("Reading", import_module(f"modalities.{modality}.reading"))


def network(modality: str) -> "Network":
    """The half of a modality that turns items into features."""
    return cast("Network", import_module(f"modalities.{modality}.network"))


def method(modality: str, kind: str, name: str, base: type) -> Any:
    """The class of `modalities/MODALITY/KIND/NAME.py`: its one public class that is a `base`."""
    module = import_module(f"modalities.{modality}.{kind}.{name}")
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and base in each.__mro__[1:]
        and each.__module__ == module.__name__
        and not each.__name__.startswith("_")
    ]
    assert len(found) == 1, f"{module.__name__}: one public {base.__name__}, not {len(found)}"
    return found[0]
