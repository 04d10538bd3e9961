"""Names of metrics: how they are written, and which of them are shares."""

import re

NAMES = {  # as they are written; all of them lie in [0, 1]
    "map": "mAP", "miou": "mIoU", "iou": "IoU", "ap": "AP", "ar": "AR", "f1": "F1", "pck": "PCK",
    "auroc": "AUROC", "j&f": "J&F", "jf": "J&F", "oks": "OKS", "map50": "mAP50", "map75": "mAP75",
    "ap50": "AP50", "ap75": "AP75", "nmi": "NMI",
}  # fmt: skip
FRACTIONS = {
    *NAMES, "accuracy", "precision", "recall", "purity", "top1", "top5", "coverage", "share",
}  # fmt: skip


def is_fraction(metric: str) -> bool:
    """Whether a metric lies in [0, 1] and reads best in percent."""
    parts = re.split(r"[-_@ ]", metric.lower())
    return any({part, part.rstrip("0123456789")} & FRACTIONS for part in parts)  # f1, AP50
