"""Mean intersection over union, as PASCAL VOC defines it. Everingham et al., IJCV 2010.

Shapes: N pictures, S their side, C classes with the background.
"""

import numpy as np

from modalities.items import IGNORE


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) pixels by true and predicted class, those with truth 255 left out."""
    told = truth != IGNORE
    pairs = truth[told].astype(np.int64) * classes + predicted[told]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(counts: np.ndarray) -> np.ndarray:
    """(C, C) -> (C,): right pixels / (right + missed + wrong) over all pictures together.

    A class that is neither there nor predicted has no value: nan, which VOC's own code gives too.
    """
    right = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - right
    found: np.ndarray = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
    return found


def mean_iou(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Both (N, S, S); the mean over classes that have a value, the background among them."""
    return float(np.nanmean(iou(confusion(truth, predicted, classes))))
