"""The sections of params.yaml as types: the Playroom, and what each modality has."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, field_validator

Positive = Annotated[int, Gt(0)]
Natural = Annotated[int, Ge(0)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PlayroomShift(Strict):
    """A change of domain, for the splits that are named."""

    splits: list[Literal["labelled", "unlabelled", "val", "test"]] = []
    resolution: Annotated[float, Gt(0), Le(1)] = 1.0  # share of the side that is kept
    corruption: Literal["none", "noise", "blur", "contrast", "jpeg"] = "none"
    severity: Annotated[int, Ge(1), Le(5)] = 3  # of the corruption
    pose: Literal["upright", "tumbled"] = "upright"


class PlayroomImage(Strict):
    """How many pictures a category gets, their side in pixels, and what is made harder."""

    labelled: Positive = 100
    unlabelled: Natural = 400
    val: Positive = 40
    test: Positive = 80
    size: Annotated[int, Ge(16), Le(1024)] = 64
    objects: Annotated[list[Positive], MinLen(2), MaxLen(2)] = [1, 1]  # fewest, most per picture
    long_tail: Annotated[float, Ge(1)] = 1.0  # most to least frequent category, in training
    novel: Natural = 0  # categories that only the unlabelled pictures show
    shift: PlayroomShift = PlayroomShift()

    @field_validator("objects")
    @classmethod
    def _ordered(cls, value: list[int]) -> list[int]:
        if value[0] > value[1]:
            raise ValueError("expected [fewest, most]")
        return value


class PlayroomShape(Strict):
    """How many shapes a category gets, the points on each, how they are turned, and how different
    their parts are: with `variety` 1 thickness varies by a factor of two either way, length by
    1.3, slant by 20 degrees."""

    categories: Annotated[
        list[Literal["chair", "dog", "lamp", "mug", "plane", "table", "truck", "vase"]], MinLen(1)
    ] = ["chair", "dog", "lamp", "plane", "truck", "vase"]
    labelled: Positive = 20
    unlabelled: Natural = 20
    val: Positive = 6
    test: Positive = 20
    points: Annotated[int, Ge(64), Le(65536)] = 1024
    pose: Literal["upright", "turned", "tumbled"] = "turned"
    variety: Annotated[float, Ge(0), Le(2)] = 0.0


class PlayroomAudio(Strict):
    """How many sounds a kind gets, and how long they are."""

    labelled: Positive = 40
    unlabelled: Natural = 110
    val: Positive = 20
    test: Positive = 40
    seconds: Annotated[float, Ge(0.5), Le(60)] = 2.0


class PlayroomVideo(Strict):
    """How many clips a category of toy gets, their side in pixels, their length."""

    clips: Positive = 100
    size: Annotated[int, Ge(16), Le(1024), MultipleOf(2)] = 64
    frames: Annotated[int, Ge(2), Le(64)] = 4
    seconds: Annotated[float, Ge(0.5), Le(60)] = 2.0


class Playroom(Strict):
    """The generated world: what to make of it."""

    make: list[str] = []
    seed: Natural = 0
    image: PlayroomImage = PlayroomImage()
    shape: PlayroomShape = PlayroomShape()
    audio: PlayroomAudio = PlayroomAudio()
    video: PlayroomVideo = PlayroomVideo()


class Run(Strict):
    """One pretraining run."""

    objective: str
    options: dict[str, Any] = {}
    encoder: str = "small"
    encoder_options: dict[str, Any] = {}
    epochs: Positive = 20
    batch_size: Positive = 256
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    warmup: Annotated[float, Ge(0), Le(1)] = 0.05  # share of all steps
    clip: Annotated[float, Ge(0)] = 1.0  # gradient norm; 0: none
    seed: Natural | None = None  # in place of training.seed


class TaughtRun(Run):
    """A run of a modality that has labelers: it says which free labels it learns from, or none."""

    labels: str  # a labeler's name, or none


class LabelerChoice(Strict):
    """One set of free labels."""

    labeler: str
    options: dict[str, Any] = {}
    run: str = "none"  # the run whose features labels are made from, where a labeler needs one


class RunLabelerChoice(LabelerChoice):
    """Free labels of a modality with labelers that need a run: all say which, or none."""

    run: str


class Checkpoint(Strict):
    """Published weights, measured as a run is: a control."""

    encoder: str
    file: str  # safetensors, or a state dict as torch saves it
    encoder_options: dict[str, Any] = {}


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
        return self.model_dump(exclude={"checkpoints", "joint", *TaughtSection.model_fields})


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
    frames: Annotated[int, Ge(1), Le(64)] = 4  # of an item
    seconds: Annotated[float, Ge(0.2), Le(60)] = 2.0
    controls: Annotated[list[str], MaxLen(0)] = []  # they are pictures'
