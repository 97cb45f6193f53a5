"""The process that writes the flight record: `python -m gigaedge_runtime.record_process`, started by `run.run_site`.

A thread takes packets off the sockets as they come; this one encodes and writes them. The queue between them is
bounded, so that behind a slow disk first the queue and then the sockets fill up, until senders drop. Whatever goes
wrong here ends the recording and nothing else.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import gigaedge
from gigaedge.bundle import MANIFEST
from gigaedge.errors import ProcessError
from gigaedge.files import sha256
from gigaedge.machine import describe_machine
from gigaedge_runtime.children import Launch, StopFlag, child_main
from gigaedge_runtime.flight_packets import SENDERS, Packet, Receiver
from gigaedge_runtime.flight_writer import Counts, FlightWriter
from gigaedge_runtime.recording import partial_path
from gigaedge_runtime.report import RecordingReport

NICENESS = 10
"""Below the policy process: a record may wait, and what does not fit any more is dropped."""

QUEUE = 20_000
"""Packets; about 100 s of ticks, some 50 MB with their chunks."""

FLUSH = 0.5
"""s between two flushes of the file."""

_POLL = 200
"""ms; how often the reader looks whether it is to stop."""

Arrival = tuple[str, Packet]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    return child_main("recorder", argv, serve)


def serve(launch: Launch, stop: StopFlag) -> dict[str, Any]:
    """Record until every sender has closed; returns the report.

    Raises ProcessError when there is nothing to write to.
    """
    os.nice(NICENESS)
    if launch.record_to is None:
        raise ProcessError("the recorder was given no file to write")
    arrivals: Queue[Arrival | None] = Queue(QUEUE)
    receivers = [Receiver(fd) for fd in launch.record]
    Thread(target=collect, args=(receivers, arrivals, stop), daemon=True).start()
    report = write(launch.record_to, describe(launch), arrivals)
    return asdict(report)


def describe(launch: Launch) -> dict[str, str]:
    """What the head of the file says of a run; texts, as MCAP has it."""
    about = {
        "gigaedge": gigaedge.__version__,
        "machine": describe_machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "site": launch.site.model_dump_json(by_alias=True),
        "dry_run": "true" if launch.dry_run else "false",
    }
    manifest = Path(launch.site.bundle) / MANIFEST
    # A run without a bundle, as of a policy made for a test, is recorded all the same.
    with suppress(OSError, UnicodeDecodeError):
        text, digest = manifest.read_text(encoding="utf-8"), sha256(manifest)
        about |= {"bundle": str(manifest.parent.resolve()), "manifest": text, "manifest_sha256": digest}
    return about


def collect(receivers: Sequence[Receiver], arrivals: Queue[Arrival | None], stop: StopFlag) -> None:
    """Queue every packet until all senders have closed or `stop` is set; then queue None."""
    poll = select.poll()
    by_fd = {}
    for name, receiver in zip(SENDERS, receivers, strict=True):
        by_fd[receiver.fileno()] = name, receiver
        poll.register(receiver.fileno(), select.POLLIN)
    while by_fd and not stop.requested:
        for fd, _ in poll.poll(_POLL):
            name, receiver = by_fd[fd]
            packet = receiver.receive()
            if packet is not None:
                arrivals.put((name, packet))
            else:
                poll.unregister(fd)
                receiver.close()
                del by_fd[fd]
    arrivals.put(None)


def write(target: Path, about: dict[str, str], arrivals: Queue[Arrival | None]) -> RecordingReport:
    """Write all packets up to None; the file has its name once it is complete.

    When the disk is full or gone, the rest is received and forgotten: senders never see the difference.
    """
    partial = partial_path(target)
    counts, stopped = Counts(), None
    packets = iter(arrivals.get, None)
    try:
        output = partial.open("wb")
        try:
            writer = FlightWriter(output, about)
            counts = writer.counts
            _write_all(writer, packets)
            writer.finish()
            os.fsync(output.fileno())
        finally:
            output.close()
        os.replace(partial, target)
    except OSError as error:
        stopped = f"recording stopped: {partial}: {error.strerror}"
        for _ in packets:
            pass
    return RecordingReport(
        file=str(partial if stopped else target),
        ticks=counts.ticks,
        ticks_dropped=counts.ticks_dropped,
        chunks=counts.chunks,
        chunks_dropped=counts.chunks_dropped,
        packets_dropped=counts.packets_dropped,
        stopped=stopped,
    )


def _write_all(writer: FlightWriter, packets: Iterator[Arrival]) -> None:
    flushed = time.monotonic()
    for sender, packet in packets:
        writer.take(packet, sender)
        if time.monotonic() - flushed > FLUSH:
            writer.flush()
            flushed = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
