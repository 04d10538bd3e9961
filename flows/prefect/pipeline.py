"""The Prefect flow: one task per stage of dvc.yaml, with the same names and the same edges.

The graph comes from DVC, and DVC runs the stages, so that its cache is the only one. A stage's task
is submitted when everything upstream has ended and a place is free, so no thread waits for another.
"""

import queue
import threading
from collections.abc import Set
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import allow_failure, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from pydantic import Field

from flows.dvc import graph as dvc_graph
from flows.dvc import selection
from flows.dvc.choice import Choice, can_be_made, chosen, partial
from flows.dvc.graph import Stage
from flows.kills.mend import repair
from flows.prefect import lost_runs, watch
from flows.prefect.stage_task import StageTask
from modalities.items import UserError
from tasks.settings.params import Modality, load

POLL = 1.0  # seconds between two looks at whether somebody cancelled
MOST = 256  # threads; only as many are made as stages run at once

Outcome = State[Any]


class Run:
    """One run of some stages: who is waiting, who is running, how they ended."""

    def __init__(
        self, root: Path, stages: list[Stage], force: bool, jobs: int, wide: Set[str]
    ) -> None:
        """`wide`: the stages that keep all cores busy by themselves."""
        self.root, self.force, self.jobs, self.wide = root, force, selection.cores(jobs), wide
        self.stages = {s.name: s for s in stages}
        self.urgency = selection.urgency(root, stages)
        self.waiting = list(self.stages)
        self.running: dict[str, PrefectFuture[Any]] = {}
        self.futures: dict[str, PrefectFuture[Any]] = {}
        self.states: dict[str, Outcome] = {}
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.cancelled = ""
        self.over = threading.Event()
        context = FlowRunContext.get()
        self.flow_run: UUID | None = context.flow_run.id if context and context.flow_run else None

    def go(self) -> Outcome:
        """Run everything; a failure ends its own branch only."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            while (self.waiting or self.running) and not self.cancelled:
                self._start_ready()
                self._await_one()
            if self.cancelled:
                self._stop()
        except KeyboardInterrupt:
            self.cancelled = "stopped by Ctrl-C"
            self._stop()
        except BaseException:  # SIGTERM from whoever started this process
            dvc_graph.stop_all()
            raise
        finally:
            self.over.set()
        return self._outcome()

    def _stop(self) -> None:
        dvc_graph.stop_all()
        for name in list(self.running):
            self._settle(name)

    def _start_ready(self) -> None:
        ready = [n for n in self.waiting if self._upstream(n) <= self.states.keys()]
        for name in sorted(ready, key=lambda n: -self.urgency[n]):
            bad = self._lacking(name)
            # What is skipped or cached starts no process and needs no place.
            if bad or self._fresh(name) or self._place():
                self._submit(name, sorted(bad))

    def _place(self) -> bool:
        """Whether one more may start. A wide stage lets those in that were there before it only."""
        return len(self.running) < self.jobs and not self.running.keys() & self.wide

    def _fresh(self, name: str) -> bool:
        return self.stages[name].clean and not self.force

    def _lacking(self, name: str) -> list[str]:
        """What it waited for in vain; what is made of whatever is there goes on without."""
        stage = self.stages[name]
        bad = [u for u in self._upstream(name) if not self.states[u].is_completed()]
        return [] if partial(stage) and can_be_made(self.root, stage) else bad

    def _upstream(self, name: str) -> set[str]:
        return set(self.stages[name].upstream) & self.stages.keys()

    def _submit(self, name: str, bad: list[str]) -> None:
        stage = self.stages[name]
        self.waiting.remove(name)
        body = StageTask(self.root, stage, self.force, self._fresh(name), self.flow_run)

        def run_stage() -> Outcome:
            return body.skip(bad[0]) if bad else body.run()

        work = Task(
            run_stage,
            name=name,
            task_run_name=name,
            description=stage.cmd,
            retries=0 if bad else int(stage.meta.get("retries", 0)),
            retry_delay_seconds=1,
            cache_policy=NO_CACHE,
            persist_result=False,
            log_prints=False,
        )
        upstream = [allow_failure(self.futures[u]) for u in sorted(self._upstream(name))]
        future = work.submit(wait_for=upstream, return_state=False)
        self.futures[name] = self.running[name] = future
        future.add_done_callback(lambda _: self.ended.put(name))

    def _await_one(self) -> None:
        """Until a stage ends or somebody cancelled."""
        try:
            self._settle(self.ended.get(timeout=POLL))
            while True:
                self._settle(self.ended.get_nowait())
        except queue.Empty:
            pass

    def _settle(self, name: str) -> None:
        if name in self.running:
            future = self.running.pop(name)
            future.wait()
            self.states[name] = future.state

    def _watch(self) -> None:
        """A run from the command line hears of a cancel in the page only by asking."""
        while self.flow_run and not self.over.wait(POLL):
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(self.flow_run).state
            except Exception:  # the server is busy or away: the stages go on
                continue
            if state and (state.is_cancelling() or state.is_cancelled()):
                self.cancelled = "cancelled"
                return

    def _outcome(self) -> Outcome:
        if self.cancelled:
            return Cancelled(message=f"{self.cancelled}; the next run goes on from here")
        bad = [n for n in self.stages if not self.states[n].is_completed()]
        if bad:
            failed = [n for n in bad if self.states[n].name != "UpstreamFailed"]
            skipped = f"; not run: {', '.join(n for n in bad if n not in failed)}"
            text = "; ".join(str(self.states[n].message) for n in failed)
            return Failed(message=text + (skipped if len(bad) > len(failed) else ""))
        if all(s.name == "Cached" for s in self.states.values()):
            return Completed(name="Cached", message="everything was up to date")
        return Completed(message=f"{len(self.stages)} stages are up to date")


@flow(
    name="gleaner",
    description="From a folder of things to a report of what each free signal is worth.",
    task_runner=ThreadPoolTaskRunner(max_workers=MOST),  # type: ignore[arg-type]
    validate_parameters=True,
    persist_result=False,
)
def pipeline(
    targets: list[str] = [],  # noqa: B006
    only: Modality | None = None,
    force: bool = False,
    everything: bool = False,
    jobs: Annotated[int, Field(ge=0, le=MOST)] = 0,
) -> Outcome:
    """Bring the project in the working folder up to date.

    Args:
        targets: stages, runs or outputs to bring up to date; none: all that is the user's own
        only: the stages of one modality only
        force: run stages that are up to date, too
        everything: the Playroom's modalities too, where others have data of your own
        jobs: stages side by side; 0: as params.yaml says, and there 0: one per core
    """
    context = FlowRunContext.get()
    assert context and context.flow_run, "Prefect runs a flow within its context"
    root = Path.cwd()
    with lost_runs.noted(root, str(context.flow_run.id)):
        logger = get_run_logger()
        try:
            for line in repair(root):
                logger.warning(line)
            params = load()
            stages = chosen(root, Choice(tuple(targets), only, everything), params, force)
            if not all(s.clean for s in stages):
                selection.check_sizes(params)
        except UserError as mistake:
            return Failed(message=str(mistake))
        dvc_graph.reset()
        watch.current().planned([s.name for s in stages])
        wide = selection.wide(stages, params)
        return Run(root, stages, force, jobs or params.machine.jobs, wide).go()
