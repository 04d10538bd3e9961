"""What one task of the flow does: bring its stage up to date through DVC, and show it happening."""

import secrets
import time
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed

from flows.dvc import graph, reported, selection
from flows.dvc.choice import partial
from flows.dvc.graph import Stage
from flows.prefect import messages, watch
from flows.prefect.artifacts import LogLines, Publisher, plain
from modalities.items import UserError
from tasks.channel import VARIABLE, split
from tasks.settings.params import load
from tasks.stage import cost_file


class StageTask:
    """The work of one stage's task."""

    def __init__(
        self, root: Path, stage: Stage, force: bool, fresh: bool, flow_run: UUID | None
    ) -> None:
        self.root, self.stage, self.force = root, stage, force
        self.fresh, self.flow_run = fresh, flow_run
        self.log = selection.log_file(stage.name)
        self.token = secrets.token_hex(16)  # what a message has and nothing else can know
        self.misread = False

    def skip(self, upstream: str) -> State[Any]:
        """Something that this stage reads was not made."""
        text = f"not run: {upstream} did not finish"
        self._end("skipped", 0.0, text)
        return Failed(name="UpstreamFailed", message=text)

    def run(self) -> State[Any]:
        """The state that the task ends in; DVC decides whether there is anything to do."""
        name, started = self.stage.name, time.monotonic()
        if self.fresh:
            self._end("unchanged", 0.0, "")
            return Completed(name="Cached", message="unchanged")
        watch.current().begin(name)
        try:
            how = self._through_dvc()
        except graph.Stopped:
            self._end("stopped", time.monotonic() - started, "")
            return Cancelled(message="stopped")
        except graph.StageFailed as failure:
            return self._failed(self._reason(failure), started)
        except UserError as mistake:
            return self._failed(f"{name}: {str(mistake).removeprefix(f'{name}: ')}", started)
        seconds = time.monotonic() - started
        self._end(how, seconds, "")
        if how == "restored":  # what it cost when it was last computed here is of another result
            (self.root / cost_file(name)).unlink(missing_ok=True)
        if how == "ran":
            return Completed(message=f"ran in {seconds:.1f} s")
        where = {"restored": "restored from the run cache", "unchanged": "unchanged"}
        return Completed(name="Cached", message=where[how])

    def _through_dvc(self) -> graph.How:
        context = TaskRunContext.get()
        assert context, "a task runs within its context"
        logger, meta = get_run_logger(), self.stage.meta
        (self.root / self.log).parent.mkdir(parents=True, exist_ok=True)
        publisher = Publisher(self.stage, self.root, self.flow_run, context.task_run.id)
        lines = LogLines(logger, str(self.log))
        with (
            (self.root / self.log).open("w", encoding="utf-8") as file,
            publisher,
        ):
            for reason in self.stage.why:
                logger.info(f"because {reason}")
            timeout = meta.get("timeout")
            how = graph.run_stage(
                self.root,
                self.stage.name,
                lambda text: self._line(text, file, publisher, lines),
                env={VARIABLE: self.token},
                force=self.force or not self._of_now(),
                timeout=None if timeout is None else float(timeout),
            )
            lines.close()
        if publisher.broken:
            logger.warning(f"the page lacks something: {publisher.broken}")
        return how

    def _of_now(self) -> bool:
        """DVC sees the data that ingest left, not what has become of its source meanwhile."""
        return not partial(self.stage) or reported.of_now(self.root, load())

    def _line(self, text: str, file: TextIO, publisher: Publisher, lines: LogLines) -> None:
        said, told = split(text, self.token)
        if said or told is None:  # what hangs before a message is a line without its end
            self._said(said, file, lines)
        if told is None:
            return
        try:
            message = messages.read(told)
        except ValueError as error:  # cut off, for one: the stage was killed while it wrote
            if not self.misread:
                self._said(f"warning: a message of the stage is left out: {error}", file, lines)
            self.misread = True
            return
        publisher.message(message)
        watch.current().message(self.stage.name, message)

    def _said(self, text: str, file: TextIO, lines: LogLines) -> None:
        text = plain(text)
        file.write(text + "\n")
        file.flush()
        lines.line(text)
        watch.current().line(self.stage.name, text)

    def _reason(self, failure: graph.StageFailed) -> str:
        """What went wrong in a line, and where to read all of it."""
        lines = [plain(x).strip() for x in failure.tail.split("\n") if x.strip()]
        told = [x for x in lines if x.startswith("error: ")] or lines[-1:]
        what = {124: "took too long", -9: "was killed", 137: "was killed (out of memory?)"}
        head = what.get(failure.exit_code, f"failed with exit code {failure.exit_code}")
        text = f": {told[-1].removeprefix('error: ')}" if told else ""
        return f"{self.stage.name} {head}{text} (full output: {self.log})"

    def _failed(self, text: str, started: float) -> State[Any]:
        context = TaskRunContext.get()
        again = context and context.task_run.run_count <= context.task.retries
        self._end("retry" if again else "failed", time.monotonic() - started, text)
        return Failed(message=text)

    def _end(self, how: str, seconds: float, text: str) -> None:
        watch.current().end(self.stage.name, how, seconds, text)
