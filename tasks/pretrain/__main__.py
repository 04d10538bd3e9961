"""One of the processes that `launch` starts: `python -m tasks.pretrain RUN FOLDER`."""

import sys
from pathlib import Path

from modalities.items import UserError
from tasks.channel import Channel, say_mistake
from tasks.pretrain import work
from tasks.settings.params import load

if __name__ == "__main__":
    name, target = sys.argv[1:]
    channel = Channel(f"pretrain-{name}")
    try:
        work(load(), channel, name, Path(target))
    except UserError as mistake:
        say_mistake(mistake)
        raise SystemExit(1) from None
