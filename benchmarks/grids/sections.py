"""What each grid's section of docs/RESULTS.md says. Numbers and verdicts are computed."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.grids import page, plans
from benchmarks.grids.cells import OWN, TUNED, Cell
from benchmarks.grids.plans import Line

SETTING = (
    "32 px, the small encoder unless said otherwise, a few thousand pictures, one thread; accuracy "
    "in per cent on the test split, mean and 95 % interval over 3 label draws (over pretraining "
    "seeds where a line has several)."
)
TRANSFER = """
## Every method of the lecture, in short runs

`python -m benchmarks.grids transfer`.
{setting}

Each method is pretrained for about 45 s of one core on the default Playroom's 6,000 training
pictures, the settings being those of `profiles/lecture.yaml` with fewer epochs; fine-tuning gets at
most 130 steps, training from scratch 390. The column `best` is the protocol that validation
prefers. *supervised* is pretrained with all 1,200 labels, as the lecture's is with ImageNet's, so
it has seen more labels than its column says.

{table}

{figure}

Luck: linear probe of each of three pretraining seeds, mean over the same three label draws:

{luck}

The lecture's own numbers (PASCAL VOC: classification mAP, detection mAP, segmentation mIoU):

| | classification | detection | segmentation |
| --- | --- | --- | --- |
| supervised | 79.9 | 56.8 | 48.0 |
| colorization | 65.6 | 46.9 | 35.6 |
| context | 65.3 | 51.1 | - |
| jigsaw | 67.6 | 53.2 | 37.6 |
| rotation | 73.0 | 54.4 | 39.1 |

Which of its orderings hold here, by the protocol that validation prefers at 50 labels per class
(the intervals above say how far to trust a difference):

{claims}

What was looked for where a method does not help: collapse (feature spread .45 to .7, effective rank
above 38, for all small encoders: none), and the learning rate and length of fine-tuning (the next
section: most of what jigsaw, context and colorization lack is there, yet none of them passes
training from scratch at 50 labels per class). Likely reasons, not tested: tiles and patches show 8
of 32 pixels, enlarged, so features are learnt at another scale than they are used at. MAE had 6
epochs and BYOL 8, and far longer pretraining is what both lacked: see "Pretrained for longer, on a
GPU". Pretraining's own learning rates were tuned for rotation and MoCo v2 only. Random weights of
the transformer choose from .0003, .001 and .003 (with the small encoder's .005 and .015 they stay
at chance). Detection and segmentation have a section of their own, with the grid `dense`.
"""


def told(name: str, words: str) -> str:
    """A section's paragraph."""
    return textwrap.fill(f"`python -m benchmarks.grids {name}`. {SETTING} {words}", 110)


PRETEXT = ("rotation", "jigsaw", "context", "colorization", "inpainting")


def best_of(lines: Sequence[Line], budget: int) -> dict[str, float]:
    return {line.name: page.mean(page.best(line.rows(), budget)[1]) for line in lines}


def orderings(found: Mapping[str, float], methods: Iterable[str]) -> str:
    """What the lecture says of classification, beside what is found."""
    others = [name for name in PRETEXT if name != "rotation" and name in found]
    known = [name for name in methods if name in found]
    told = [
        ("rotation is the best of the pretext tasks", "rotation",
         max(others, key=found.__getitem__, default="the others")),
        ("jigsaw is above context", "jigsaw", "context"),
        ("jigsaw is above colorization", "jigsaw", "colorization"),
        ("supervised is above all", "supervised",
         max(known, key=found.__getitem__, default="the methods")),
        ("MoCo v2 is above v1", "moco_v2", "moco_v1"),
        ("MoCo v2 is above SimCLR at a small batch", "moco_v2", "simclr"),
    ]  # fmt: skip
    return page.claims(found, told)


def transfer(lines: Sequence[Line]) -> str:
    shown = [line for line in lines if "seeds" not in line.name]
    head = ["", "best, 5 per class", "best, 50 per class", "linear, 50", "fine-tuned, 50", "CPU s"]
    body = []
    for line in shown:
        rows, cells = line.rows(), []
        for budget in (5, 50):
            name, values = page.best(rows, budget)
            cells.append(f"{page.number(values)} {name}")
        cells += [page.number(page.values(rows, p, 50)) for p in ("linear", "finetune")]
        body.append([line.name, *cells, page.cost(line)])
    several = [line for line in lines if "seeds" in line.name]
    luck = page.table(
        ["", "5 per class", "50 per class"],
        [[line.name, *(page.spread(line.rows(), b) for b in (5, 50))] for line in several],
    )
    return TRANSFER.format(
        setting=textwrap.fill(SETTING, 100), table=page.table(head, body), luck=luck,
        figure=page.bars("transfer", shown), claims=orderings(best_of(shown, 50), plans.lecture()),
    )  # fmt: skip


DENSE = (
    "The lecture's other two columns: FCOS on a feature pyramid, and a segmentation head; 50 "
    "pictures per class whose boxes or masks are told, encoder and head fine-tuned together; "
    "`random` is frozen, `scratch` has three times the steps. Here it is AP and mIoU in per cent."
)
ORDER = (  # what the lecture says: claim, column, higher, lower
    ("rotation is the best of the pretext tasks in segmentation", "mIoU", "rotation", ""),
    ("jigsaw is above context in detection", "AP", "jigsaw", "context"),
    ("rotation is above jigsaw in detection", "AP", "rotation", "jigsaw"),
    ("supervised is above rotation in detection", "AP", "supervised", "rotation"),
    ("supervised is above rotation in segmentation", "mIoU", "supervised", "rotation"),
)
COLUMNS = ("AP", "AP50", "mIoU")


def dense_orderings(means: Mapping[str, Mapping[str, float]]) -> str:
    """The same of detection and segmentation; `means` by metric and method."""
    said = []
    for text, column, higher, lower in ORDER:
        of = means[column]
        others = [name for name in PRETEXT if name != "rotation" and name in of]
        below = lower or max(others, key=of.__getitem__, default="the others")
        said.append(page.claims(of, [(text, higher, below)]))
    return "\n".join(said)


def dense(lines: Sequence[Line]) -> str:
    found = {ln.name: {c: page.metric(ln.rows(), c) for c in COLUMNS} for ln in lines}
    body = [[name, *(page.number(of[c]) for c in COLUMNS)] for name, of in found.items()]
    means = {c: {name: page.mean(of[c]) for name, of in found.items()} for c in COLUMNS}
    head = ["", "detection, AP", "detection, AP at .5", "segmentation, mIoU"]
    return (
        f"\n## Every method of the lecture: detection and segmentation\n\n{told('dense', DENSE)}"
        f"\n\n{page.table(head, body)}\n\nThe lecture's orderings:\n\n{dense_orderings(means)}\n"
    )


LONGER = (
    "50 labels per class. If the second column is far below the first, the short fine-tuning of "
    "the table of methods was what held a method back, not its features alone."
)
AUGMENTATIONS = (
    "4 epochs. On the diagonal the two views differ by one kind of change only, beside it by two; "
    "both may always be mirrored. `colour` is jitter and greying. Blur changes nothing at all: its "
    "strength is a share of the picture's width, at most .29 pixels at 32 px, which is below what "
    "is applied (.3), so `blur` alone is mirroring alone."
)
FEW_SHOT = (
    "L = (1 - w) L_sup + w L_ssl (arXiv:1910.03560) with rotation and prototypical episodes, 100 "
    "steps of 32 labelled and 32 other pictures from random weights; 5 of 12 classes are held out "
    "in each of 3 draws, which differ in these classes, 300 episodes of 5 ways each. *No pool*: "
    "the pretext task sees the labelled pictures of the other classes alone; the other domain is "
    "tumbled and noisy. Differences are far smaller than the intervals: in so few steps nothing "
    "can be said about the paper's finding."
)


def longer(lines: Sequence[Line]) -> str:
    body = [
        [line.name,
         page.number(page.values(line.rows(), "finetune", 50)),
         page.number(page.values(short.rows(), "finetune", 50))]
        for line, short in ((ln, plans.Line("", ln.cells, TUNED)) for ln in lines)
    ]  # fmt: skip
    scratch = plans.Line("scratch", [Cell(control="scratch")], OWN)
    body.append(["scratch", page.number(page.values(scratch.rows(), "finetune", 50)), ""])
    head = ["", "390 steps, learning rate .015", "130 steps, .001 or .003"]
    return (
        "\n## Weak starts, fine-tuned as long as random weights are trained\n\n"
        f"{told('longer', LONGER)}\n\n{page.table(head, body)}\n"
    )


def plain(title: str, name: str, words: str) -> Callable[[Sequence[Line]], str]:
    """A section that is a table, with a figure of its lines."""

    def section(lines: Sequence[Line]) -> str:
        scratch = any(cell.control == "scratch" for ln in lines for cell in ln.cells)
        tuned = scratch or any(
            task[1].get("protocols") == ["finetune"] for ln in lines for task in ln.tasks
        )
        protocols = ("linear", "knn", "finetune") if tuned else ("linear", "knn")
        text = told(name, words)
        return (
            f"\n## {title}\n\n{text}\n\n{page.simple(lines, protocols)}\n\n"
            f"{page.bars(name, lines)}\n"
        )

    return section


def augmentations(lines: Sequence[Line]) -> str:
    budget = 50
    found = {ln.name: page.mean(page.values(ln.rows(), "linear", budget)) for ln in lines}
    names = list(plans.CHANGES)
    title = f"linear probe, {budget} labels per class"
    return (
        "\n## SimCLR's augmentations, singly and in pairs\n\n"
        f"{told('augmentations', AUGMENTATIONS)}\n\n"
        f"{page.matrix('augmentations', names, found, title)}\n\n{page.simple(lines)}\n"
    )


def few_shot(lines: Sequence[Line]) -> str:
    body = []
    for line in lines:
        rows = line.rows()
        for name in dict.fromkeys(row["protocol"] for seed in rows for row in seed):
            cells = [page.number(page.values(rows, name, shot)) for shot in (1, 5)]
            body.append([line.name, name, *cells])
    table = page.table(["unlabelled pictures", "weight", "1 shot", "5 shots"], body)
    return (
        "\n## Few-shot learning with a pretext task as auxiliary loss\n\n"
        f"{told('few_shot', FEW_SHOT)}\n\n"
        f"{table}\n"
    )


SECTIONS: dict[str, Callable[[Sequence[Line]], str]] = {
    "transfer": transfer,
    "dense": dense,
    "longer": longer,
    "patient": plain(
        "Pretrained for longer, on a GPU", "patient",
        "300 epochs in batches of 256, momentum .99, else the settings of the table of methods.",
    ),
    "moco": plain(
        "MoCo v1 against v2", "moco",
        "Three pretraining seeds each, the same queue (1,024), momentum (.98) and epochs (12).",
    ),
    "simclr": plain(
        "SimCLR: batch and length", "simclr",
        "The learning rate is .006 for a batch of 64 and twice that for 256.",
    ),
    "negatives": plain(
        "Three sources of negatives", "negatives",
        "The objective `contrastive` with the same views, head and temperature (.1), 10 epochs.",
    ),
    "augmentations": augmentations,
    "masking": plain(
        "MAE: how much is masked", "masking",
        "A ViT of width 128 and depth 4, patch 4, 4 epochs each: what is masked is not encoded, so "
        "more masking is also less time. `docs/BENCHMARKS.md` has the times.",
    ),
    "amount": plain(
        "When does contrastive learning work: pretraining-set size", "amount",
        "SimCLR with the same number of steps (450 to 470), as arXiv:2105.05837 does it.",
    ),
    "domains": plain(
        "When does contrastive learning work: domain", "domains",
        "SimCLR, 12 epochs of 2,400 pictures; toys lie at any angle (`tumbled`) or stand (`few`). "
        "Which of the two it was pretrained on makes less of a difference than the intervals.",
    ),
    "corruption": plain(
        "When does contrastive learning work: corruption and resolution", "corruption",
        "SimCLR, 12 epochs of 2,400 pictures that are good (`few`), `noisy` (severity 5) or "
        "`coarse` (a quarter of the resolution); measured on good pictures. Unlike in the paper "
        "hardly anything depends on it; the pictures are as spoilt as they should be (looked at), "
        "the runs are short (450 steps), and whether longer ones differ was not tried.",
    ),
    "granularity": plain(
        "When does contrastive learning work: label granularity", "granularity",
        "The same encoders, measured with 5 and 50 labels for each of 12 categories or 4 families.",
    ),
    "few_shot": few_shot,
}  # fmt: skip
