"""Numbers and names as a reader wants them: percent, points, budgets, times."""

from typing import Any

from tasks.transfer.metrics import NAMES, is_fraction

PROTOCOLS = {
    "linear": "linear probe", "knn": "nearest neighbours", "finetune": "fine-tuned",
    "frozen": "a head on frozen maps", "joint": "fine-tuned, free labels beside",
}  # fmt: skip
CONTROLS = {
    "scratch": "training from scratch",
    "supervised": "pretrained with all labels",
    "random": "random frozen features",
    "majority": "the majority class",
    "histogram": "a colour histogram",
    "pixels": "nearest neighbour in pixels",
    "mfcc": "mean MFCC and logistic regression",
    "joint": "labels and free labels together",
}
MODALITIES = {  # heading, one item, several
    "image": ("Images", "picture", "pictures"), "video": ("Videos", "video", "videos"),
    "audio": ("Sounds", "sound", "sounds"), "shape": ("Shapes", "shape", "shapes"),
    "text": ("Texts", "text", "texts"),
}  # fmt: skip


def modality(name: str) -> str:
    """A heading."""
    return MODALITIES[name][0] if name in MODALITIES else name.capitalize()


def noun(name: str) -> str:
    """What one item of a modality is called."""
    return MODALITIES[name][1] if name in MODALITIES else "item"


def nouns(name: str) -> str:
    return MODALITIES[name][2] if name in MODALITIES else "items"


def metric(name: str) -> str:
    """`instance_miou` -> `instance mIoU`, as papers write it."""
    return " ".join(NAMES.get(part.lower(), part) for part in name.split("_"))


def plain(value: Any) -> str:
    """A number or a word of a stage's metrics or options: `12,000`, `0.8123`, `adam`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    whole = float(value).is_integer() and abs(value) < 1e15
    return f"{int(value):,}" if whole else f"{value:.4g}"


def number(value: float, metric: str) -> str:
    """0.612 -> `61.2` for a fraction (in percent), else three significant digits."""
    text = f"{100 * value:.1f}" if is_fraction(metric) else f"{value:.3g}"
    return text.replace("-", "\u2212")


def tick(value: float, metric: str) -> str:
    """A round number on an axis."""
    text = f"{100 * value:.0f}" if is_fraction(metric) else f"{value:.3g}"
    return text.replace("-", "\u2212")


def unit(metric: str) -> str:
    return "\u00a0%" if is_fraction(metric) else ""


def value(row: dict[str, Any]) -> str:
    return number(row["mean"], row["metric"]) + unit(row["metric"])


def gain(difference: float, metric: str) -> str:
    """`+18.2 points` or `-0.3`, with a true minus sign."""
    size = number(abs(difference), metric)
    sign = "\u2212" if difference < 0 else "+"
    return f"{sign}{size}\u00a0points" if is_fraction(metric) else f"{sign}{size}"


def half_width(row: dict[str, Any]) -> str:
    """The larger side of the interval, or nothing where one draw gives none."""
    if row["low"] is None or row["high"] is None or row["draws"] < 2:
        return ""
    return number(max(row["high"] - row["mean"], row["mean"] - row["low"]), row["metric"])


def interval(row: dict[str, Any]) -> str:
    metric, draws = row["metric"], row["draws"]
    if not half_width(row):
        return f"{value(row)}, one draw: no interval"
    low, high = number(row["low"], metric), number(row["high"], metric)
    return f"95 % interval {low} to {high}{unit(metric)} over {draws} draws"


def budget(size: int | str) -> str:
    if size == "all":
        return "all labels"
    return f"{size} label{'' if size == 1 else 's'} per class"


def protocol(row: dict[str, Any]) -> str:
    """`linear probe`, with the learner unless it is the plain one; empty for bare controls."""
    name = "" if row["protocol"] == row["run"] else PROTOCOLS.get(row["protocol"], row["protocol"])
    learner = "" if row["learner"] in ("supervised", row["run"]) else row["learner"]
    return ", ".join(part for part in (name, learner) if part)


def seconds(time: float) -> str:
    """`0.4 s`, `48 s`, `3 min 20 s`, `2 h 5 min`."""
    if time < 9.95:
        return f"{time:.1f}\u00a0s"
    whole = round(time)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60}\u00a0min"


def memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f}\u00a0GB" if megabytes >= 1000 else f"{megabytes:.0f}\u00a0MB"


def count(many: int, one: str, more: str | None = None) -> str:
    """`1 picture`, `1,797 pictures`."""
    return f"{many:,} {one if many == 1 else more or one + 's'}"
