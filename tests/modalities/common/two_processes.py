"""Every run of params.yaml, one after another, in the processes of one launch.

`accelerate launch -m two_processes`: to start two processes takes longer than a step of training.
"""

from modalities.common.network.trained import MODELS
from modalities.common.training.monitor import Silence
from tasks.pretrain import work
from tasks.settings.params import load


def main() -> None:
    params = load()
    for run in params.image.runs:
        folder = MODELS / run
        folder.mkdir(parents=True, exist_ok=True)
        work(params, Silence(), run, folder)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
