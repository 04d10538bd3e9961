"""What a trained encoder sees: neighbours of a few test pictures, and a map of its features.

Shapes: n items, D feature width; raw items are as ingest kept them. Only here is torch imported.
"""

import time
from typing import Any

from modalities import named
from modalities.common.network.trained import opened
from tasks.report.drawing import charts, pictures
from tasks.report.facts import Data, Trained

QUERIES, NEIGHBOURS = 6, 6
POOL, MAPPED = 500, 500  # items searched for neighbours; dots on the map
BATCH = 50


def look(run: Trained, data: Data, budget: float) -> dict[str, Any]:
    """Neighbours and map, from as many items as can be encoded in about `budget` seconds."""
    queries = _queries(data)
    pool = _sample(data.where(("train",), labelled=True) or data.where(("train",)), POOL)
    mapped = _sample(data.where(("test",)) or data.where(("train",)), MAPPED)
    order = list(dict.fromkeys([*queries, *_mixed(pool, mapped)]))
    features = _encode(run, data, order, 0.5 * budget)
    done = set(order[: len(features)])
    place = {item: k for k, item in enumerate(order)}
    near = [
        _near(data, features, place, query, [i for i in pool if i in done and i != query])
        for query in queries
    ]
    dots = [item for item in mapped if item in done]
    return {"neighbours": near, "map": _map(data, features, place, dots, 0.5 * budget)}


def _queries(data: Data) -> list[int]:
    """One test picture of each of a few classes, spread over all classes."""
    items = data.where(("test",)) or data.where(("train",))
    first: dict[str | None, int] = {}
    for item in items:
        first.setdefault(data.label[item], item)
    labels = [name for name in data.classes if name in first]
    chosen = [first[name] for name in _even(labels, QUERIES)]
    return chosen or _even(items, QUERIES)


def _even(values: list[Any], many: int) -> list[Any]:
    """At most `many` of them, at equal distances."""
    if len(values) <= many:
        return values
    return [values[k * len(values) // many] for k in range(many)]


def _sample(positions: list[int], many: int) -> list[int]:
    import numpy as np

    shuffled = np.random.default_rng(0).permutation(positions)[:many]
    return [int(position) for position in shuffled]


def _mixed(one: list[int], other: list[int]) -> list[int]:
    """Both in turn, so that whatever the time allows is shared."""
    longest = max(len(one), len(other))
    pairs = [(one[k : k + 1], other[k : k + 1]) for k in range(longest)]
    return [item for pair in pairs for part in pair for item in part]


def _encode(run: Trained, data: Data, order: list[int], budget: float) -> Any:
    """(n, D) unit features of the first n items, where n is what the time allows."""
    import numpy as np
    import torch

    network = named.network(data.modality)
    encoder = opened(run.name).encoder().eval()
    started = time.monotonic()
    parts: list[Any] = []
    with torch.inference_mode():
        for k in range(0, len(order), BATCH):
            if parts and time.monotonic() - started > budget:
                break
            raw = torch.from_numpy(data.raw(order[k : k + BATCH]))
            found = encoder(network.prepare(raw)).float()
            parts.append(torch.nn.functional.normalize(found, dim=1).numpy())
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise ValueError("the encoder gives features that are not finite")
    return features


def _near(
    data: Data, features: Any, place: dict[int, int], query: int, pool: list[int]
) -> dict[str, Any]:
    import numpy as np

    likeness = features[[place[i] for i in pool]] @ features[place[query]]
    found = [pool[k] for k in np.argsort(-likeness, kind="stable")[:NEIGHBOURS]]
    drawn = pictures.thumbnails(data, [query, *found])
    mine = data.label[query]
    others = [
        {"picture": picture, "label": data.label[item],
         "same": None if mine is None or data.label[item] is None else data.label[item] == mine}
        for item, picture in zip(found, drawn[1:], strict=True)
    ]  # fmt: skip
    return {"picture": drawn[0], "label": mine, "others": others}


def _map(
    data: Data, features: Any, place: dict[int, int], items: list[int], budget: float
) -> dict[str, Any] | None:
    """The features in two dimensions: t-SNE, or principal components where time is short."""
    if len(items) < 8:
        return None
    from sklearn.decomposition import PCA

    mine = features[[place[item] for item in items]]
    if mine.std() < 1e-6:
        return None
    labels = [data.label[item] for item in items]
    if budget > 1.2 and len(items) >= 30:
        from sklearn.manifold import TSNE

        method, count = "t-SNE", min(50, *mine.shape)
        mine = PCA(count, random_state=0).fit_transform(mine)
        points = TSNE(random_state=0, max_iter=500, n_jobs=1).fit_transform(mine)
    else:
        method, points = "principal components", PCA(2, random_state=0).fit_transform(mine)
    drawn = charts.feature_map(points.tolist(), labels, data.classes)
    return {"picture": drawn, "method": method, "count": len(items)}
