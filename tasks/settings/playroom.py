"""The Playroom's section of params.yaml: what to make, how much of it, how hard."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen, MultipleOf
from pydantic import field_validator

from tasks.settings.strict import Natural, Positive, Strict


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
