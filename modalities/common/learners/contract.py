"""What a learner is: an objective that learns from several streams of items at once.

A stream is a set of items with an order of its own: labelled ones, unlabelled ones. `views` is
called for each stream's batch, `forward` gets the views of all streams in one batch, in which a
stream's column is called `STREAM.COLUMN`: whatever trains an objective trains a learner.
"""

from collections.abc import Mapping

from modalities.base import Batch, Objective


class Learner(Objective):
    """An objective of several streams, one of which has labels."""

    needs: tuple[str, ...]  # columns of the labelled stream's batches beside `items`
    streams: Mapping[str, int]  # how many items of each a step sees

    def labelled(self, batch: Batch) -> bool:
        """Whether a raw batch is of the labelled stream."""
        return all(column in batch for column in self.needs)


def joined(views: Mapping[str, Batch]) -> Batch:
    """One batch of the views of each stream."""
    return {f"{name}.{key}": x for name, batch in views.items() for key, x in batch.items()}


def of_stream(batch: Batch, name: str) -> Batch:
    """The views of one stream; empty where the batch has none."""
    start = f"{name}."
    return {key.removeprefix(start): x for key, x in batch.items() if key.startswith(start)}
