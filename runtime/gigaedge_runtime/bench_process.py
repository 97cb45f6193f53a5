"""A process that measures a policy: `python -m gigaedge_runtime.bench_process`, a `Job` on standard input.

Fresh, so that what an earlier measurement left behind - memory, threads, warm caches - is not measured with it. It
answers with `Message` lines on standard output and ends early when nobody reads them any more.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Final, TextIO

from gigaedge.bundle import open_bundle
from gigaedge.errors import GigaedgeError, ProcessError
from gigaedge_runtime.bench_job import (
    ChunksResult,
    Failure,
    Job,
    LimitsResult,
    Message,
    Sampler,
    SamplerTimes,
    SteadyResult,
)
from gigaedge_runtime.measuring import RecordingDevice, observe
from gigaedge_runtime.memory import gpu_used, resident
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.yardstick import Yardstick

TELL: Final = 0.25
"""s between two messages: whoever reads them computes a little, too."""
MEMORY: Final = 1.0
"""s between two looks at the memory in a steady run."""
BOARD: Final = 0.5
"""s between two readings of the board's sensors."""


class Answer:
    """Standard output for messages alone: what a library prints goes to standard error from now on."""

    def __init__(self) -> None:
        self._file: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._advanced = 0
        self._last = perf_counter()

    def advance(self, count: int) -> None:
        """More is done; told now and then."""
        self._advanced += count
        if perf_counter() - self._last >= TELL:
            self.tell(Message(advanced=self._advanced))

    def tell(self, message: Message) -> None:
        """Send a message. Raises BrokenPipeError when the measurement was given up."""
        self._file.write(message.model_dump_json() + "\n")
        self._file.flush()
        self._advanced, self._last = 0, perf_counter()


def main() -> int:
    """Do one job; returns the exit code."""
    answer = Answer()
    order = sys.stdin.readline()
    if not order:  # given up before it began
        return 1
    job = Job.model_validate_json(order)
    device = RecordingDevice(job.provider, job.threads)
    try:
        answer.tell(TASKS[job.task](job, device, answer).model_copy(update={"ran_on": dict(device.ran_on)}))
    except GigaedgeError as error:
        answer.tell(Message(failure=Failure(kind=type(error).__name__, message=str(error))))
        return error.exit_code
    except MemoryError:
        message = f"{job.bundle}: out of memory; close other programs or take a smaller bundle"
        answer.tell(Message(failure=Failure(kind=ProcessError.__name__, message=message)))
        return ProcessError.exit_code
    except BrokenPipeError:
        return 1
    return 0


def time_chunks(job: Job, device: RecordingDevice, answer: Answer) -> Message:
    """Task chunks: the samplers take turns, so that what the machine does meanwhile falls on all of them."""
    before, gpu_before = resident("VmRSS"), gpu_used() if job.provider != "cpu" else None
    begin = perf_counter()
    policy = load(job, device)
    loaded = perf_counter()
    gc.collect()
    memory = resident("VmRSS")
    observation = observe(policy.manifest, job.seed)
    first_begin = perf_counter()
    policy.chunk(observation)
    first = perf_counter() - first_begin
    for _ in range(job.warmup):
        for sampler in job.samplers:
            policy.set_sampler(sampler.steps, sampler.solver)
            policy.chunk(observation)
            answer.advance(1)
    peak, gpu_after = resident("VmHWM"), gpu_used() if gpu_before is not None else None
    yardstick = Yardstick(device.workers)
    timed = {sampler: _Timed() for sampler in job.samplers}
    for _ in range(job.repeats):
        for sampler, times in timed.items():
            policy.set_sampler(sampler.steps, sampler.solver)
            times.add(yardstick, policy, observation)
            answer.advance(1)
    result = ChunksResult(
        load=loaded - begin,
        first_chunk=first,
        rows=tuple(times.told(sampler) for sampler, times in timed.items()),
        loaded=memory - before,
        peak=peak - before,
        gpu=None if gpu_before is None or gpu_after is None else gpu_after - gpu_before,
    )
    return Message(chunks=result)


class _Timed:
    """The chunks of one sampler so far."""

    def __init__(self) -> None:
        self._chunk: list[float] = []
        self._yardstick: list[float] = []
        self._chunk_work: list[float] = []
        self._yardstick_work: list[float] = []
        self._stages: dict[str, list[float]] = defaultdict(list)

    def add(self, yardstick: Yardstick, policy: Policy, observation: Observation) -> None:
        """Time the yardstick and one more chunk."""
        before = process_time()
        self._yardstick.append(yardstick.run())
        between = process_time()
        begin = perf_counter()
        chunk = policy.chunk(observation)
        self._chunk.append(perf_counter() - begin)
        self._yardstick_work.append(between - before)
        self._chunk_work.append(process_time() - between)
        for stage, seconds in chunk.timings.items():
            self._stages[stage].append(seconds)
        if chunk.step_times:
            self._stages["step"].extend(chunk.step_times)

    def told(self, sampler: Sampler) -> SamplerTimes:
        """As the answer has it."""
        return SamplerTimes(
            sampler=sampler,
            chunk=tuple(self._chunk),
            yardstick=tuple(self._yardstick),
            chunk_work=tuple(self._chunk_work),
            yardstick_work=tuple(self._yardstick_work),
            stages={stage: tuple(times) for stage, times in self._stages.items()},
        )


def run_steadily(job: Job, device: RecordingDevice, answer: Answer) -> Message:
    """Task steady: one chunk after the other, beside the board's sensors."""
    from gigaedge_runtime.gauges import Gauges

    policy = load(job, device)
    observation = observe(policy.manifest, job.seed)
    for _ in range(1 + job.warmup):
        policy.chunk(observation)
    times: list[tuple[float, float]] = []
    memory: list[tuple[float, int]] = []
    told = 0
    with Gauges(BOARD) as gauges:
        start = end = perf_counter()
        while end - start < job.seconds:
            begin = perf_counter()
            policy.chunk(observation)
            end = perf_counter()
            times.append((end - start, end - begin))
            if end - start >= MEMORY * len(memory):
                memory.append((end - start, resident("VmRSS")))
            if int(end - start) > told:
                answer.advance(int(end - start) - told)
                told = int(end - start)
        board = gauges.report(chunks=len(times))
    return Message(steady=SteadyResult(times=tuple(times), memory=tuple(memory), board=board))


def find_limits(job: Job, device: RecordingDevice, answer: Answer) -> Message:
    """Task limits."""
    from gigaedge_runtime.roofline import measure_peaks, profile_bundle

    peaks = measure_peaks(device)
    answer.advance(1)
    first = job.samplers[0]
    profile = profile_bundle(open_bundle(job.bundle), device, first.steps, solver=first.solver, peaks=peaks)
    return Message(limits=LimitsResult(peaks=peaks, profile=profile))


def load(job: Job, device: RecordingDevice) -> Policy:
    """The policy with the job's prompt and first sampler."""
    first = job.samplers[0]
    policy = Policy(open_bundle(job.bundle), device, first.steps, first.solver, job.seed)
    policy.set_prompt(job.prompt)
    return policy


TASKS: Final[dict[str, Callable[[Job, RecordingDevice, Answer], Message]]] = {
    "chunks": time_chunks,
    "steady": run_steadily,
    "limits": find_limits,
}


if __name__ == "__main__":
    sys.exit(main())
