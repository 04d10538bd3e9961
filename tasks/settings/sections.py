"""What params.yaml has of each modality."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen
from pydantic import field_validator

from tasks.settings.runs import Checkpoint, LabelerChoice, Run, RunLabelerChoice, TaughtRun
from tasks.settings.strict import Strict


class Section(Strict):
    """A modality: where its items are, what is learnt from them, what that is measured by."""

    source: str
    labels: str
    runs: Mapping[str, Run] = {}
    controls: Sequence[str] = ()
    tasks: dict[str, dict[str, Any]] = {}

    @property
    def choices(self) -> Mapping[str, LabelerChoice]:
        """The labelers, where a modality has them."""
        return {}

    @property
    def published(self) -> Mapping[str, Checkpoint]:
        """The published weights, where a modality can read them."""
        return {}

    @property
    def measures(self) -> dict[str, Any]:
        """What only this modality has: the size of its items."""
        return self.model_dump(
            exclude={"auxiliary", "checkpoints", "joint", *TaughtSection.model_fields}
        )


class TaughtSection(Section):
    """A modality with labelers: its runs may learn from free labels."""

    labelers: Mapping[str, LabelerChoice] = {}
    runs: dict[str, TaughtRun] = {}

    @property
    def choices(self) -> Mapping[str, LabelerChoice]:
        return self.labelers


class Image(Section):
    """Pictures."""

    size: Annotated[int, Ge(8), Le(1024)] = 32
    auxiliary: Literal["none", "rotation", "jigsaw"] = "none"  # few_shot trains it beside
    runs: dict[str, Run] = {}
    controls: list[
        Literal["scratch", "supervised", "random", "majority", "histogram", "pixels"]
    ] = []
    checkpoints: dict[str, Checkpoint] = {}

    @property
    def published(self) -> Mapping[str, Checkpoint]:
        return self.checkpoints

    @field_validator("source")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if value.startswith("torchvision:"):  # DVC wants a path: the command puts one here
            raise ValueError(f"expected a folder; type `glean data image {value}`")
        return value


class Shape(TaughtSection):
    """3D shapes."""

    source: str = "raw/playroom/shape"
    labels: str = "raw/playroom/shape"
    points: Annotated[int, Ge(64), Le(65536)] = 1024  # per shape
    controls: list[Literal["scratch", "random", "joint", "majority"]] = []
    joint: str = "none"  # the labeler whose free labels the control `joint` learns from


class Audio(TaughtSection):
    """Sounds."""

    source: str = "raw/playroom/audio"
    labels: str = "raw/playroom/audio"
    seconds: Annotated[float, Ge(0.2), Le(60)] = 2.0  # of an item
    labelers: dict[str, RunLabelerChoice] = {}
    controls: list[Literal["scratch", "random", "majority", "mfcc"]] = []


class Video(TaughtSection):
    """Clips: frames with their sound. What is learnt is an encoder of pictures."""

    source: str = "raw/playroom/video"
    labels: str = "raw/playroom/video"
    size: Annotated[int, Ge(8), Le(1024)] = 32  # of a frame
    auxiliary: Literal["none", "rotation", "jigsaw"] = "none"  # few_shot trains it beside
    frames: Annotated[int, Ge(1), Le(64)] = 4  # of an item
    seconds: Annotated[float, Ge(0.2), Le(60)] = 2.0
    controls: Annotated[list[str], MaxLen(0)] = []  # they are pictures'
