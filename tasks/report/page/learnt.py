"""What each run learnt, as the template wants it."""

from collections.abc import Iterator
from typing import Any

from tasks.channel import Channel
from tasks.report import drawn, words
from tasks.report.drawing import charts, features
from tasks.report.facts import Facts, Trained
from tasks.settings.strict import NONE

SECONDS = 8.0  # for the features of all runs together
CURVES = 9
NARROW, FEW = 0.4, 0.05  # spread, and share of the directions, below which features are narrow
DRAWN = 24  # pictures by the objectives of all runs together


def runs(facts: Facts, tell: Channel) -> Iterator[dict[str, Any]]:
    """One run after the other; what cannot be drawn is said, and costs no more than itself."""
    many = max(1, len(facts.runs))
    for place, run in enumerate(facts.runs):
        tell.progress(0.2 + 0.6 * place / many, f"features of {run.name}")
        view: dict[str, Any] = {"neighbours": [], "map": None, "problem": None}
        data = facts.data.get(run.modality)
        if data is not None and data.row:
            try:
                view |= features.look(run, data, SECONDS / many)
            except Exception as error:  # the numbers must reach the reader, whatever a figure does
                view["problem"] = f"{type(error).__name__}: {error}"
                tell.warn(f"report: no pictures of what {run.name} learnt: {view['problem']}")
        yield view | _described(run, max(2, DRAWN // many))


def _described(run: Trained, most: int) -> dict[str, Any]:
    order = sorted(run.curves, key=lambda name: ("loss" not in name, name))[:CURVES]
    curves = [{"name": name, "picture": charts.curve(name, run.curves[name])} for name in order]
    return {
        "name": run.name,
        "modality": run.modality,
        "noun": words.noun(run.modality),
        "nouns": words.nouns(run.modality),
        "about": run.config.get("about", ""),
        "objective": run.config.get("objective", ""),
        "numbers": _numbers(run),
        "health": health(run),
        "curves": curves,
        "drawn": drawn.view(run.drawn, most),
    }


def _numbers(run: Trained) -> list[tuple[str, str]]:
    """Name and value of what is worth a line."""
    config, metrics = run.config, run.metrics
    found = [("encoder", config.get("encoder")), ("feature width", config.get("dim"))]
    found += [(name, metrics.get(name)) for name in ("parameters", "items", "epochs", "steps")]
    if (start := config.get("start", NONE)) != NONE:
        found.append(("starts from", start))
    found.append(("final loss", metrics.get("loss", metrics.get("final_loss"))))
    return [(name, words.plain(value)) for name, value in found if value is not None]


def health(run: Trained) -> dict[str, str] | None:
    """Whether the features use their space, by the bounds that training warns by."""
    spread, rank = (run.metrics.get(key) for key in ("feature_spread", "effective_rank"))
    width = run.config.get("dim")
    if spread is None or rank is None or not width:
        return None
    from modalities.common.training.monitor import RANK, SPREAD

    collapsed = spread < SPREAD or rank < RANK
    narrow = spread < NARROW or rank < FEW * width
    word = "collapsed" if collapsed else "narrow" if narrow else "healthy"
    advice = {
        "collapsed": "all items look nearly alike to it, so it has learnt next to nothing",
        "narrow": "its features use few of their directions",
        "healthy": "its features use the room they have",
    }
    text = f"feature spread {spread:.2f} (healthy: about 1), effective rank {rank:.1f} of {width}"
    return {"word": word, "text": text, "advice": advice[word]}


def total(facts: Facts, own: dict[str, Any]) -> str:
    """Time of all stages that were computed here."""
    return words.seconds(sum(s["seconds"] or 0 for s in [*facts.stages, own]))
