"""From packets to an MCAP file."""

from __future__ import annotations

import base64
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from mcap.writer import CompressionType, Writer
from numpy.typing import NDArray

from gigaedge.robot import DIM_NAMES, SIDES, arm_slice
from gigaedge_runtime import flight_topics as topics
from gigaedge_runtime.flight_packets import READ, TICK, Kind, Packet, Reading, Sending
from gigaedge_runtime.mailbox import ChunkMailbox
from gigaedge_runtime.states import FaultCode, State

CHUNK_BYTES = 1 << 17
"""Of messages that are compressed together: half a second of ticks, which is what a killed recorder loses."""

JPEG_QUALITY = 85
PNG_LEVEL = 3
"""zlib's; higher ones take twice as long for 2 % less."""

LOST = "(the text was lost)"


@dataclass
class Counts:
    """How many records came, and how many are known to be missing."""

    ticks: int = 0
    ticks_dropped: int = 0
    chunks: int = 0
    chunks_dropped: int = 0
    packets_dropped: int = 0
    """Packets of any kind that the senders could not hand over."""
    _drops: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ticks_seen: int = 0
    _chunks_seen: int = 0

    def dropped(self, sender: str, count: int) -> None:
        """A sender said how many packets it has dropped so far."""
        self._drops[sender] = max(self._drops[sender], count)
        self.packets_dropped = sum(self._drops.values())

    def tick(self, number: int) -> None:
        """Tick `number`, from 0, came."""
        self.ticks += 1
        self.ticks_were(number + 1)

    @property
    def ticks_total(self) -> int:
        """Ticks there were, recorded or not, as far as is known."""
        return self._ticks_seen

    def ticks_were(self, total: int) -> None:
        """There have been `total` ticks."""
        self._ticks_seen = max(self._ticks_seen, total)
        self.ticks_dropped = self._ticks_seen - self.ticks

    def chunk(self, number: int) -> None:
        """Chunk `number`, from 1, came."""
        self.chunks += 1
        self.chunks_were(number)

    @property
    def chunks_total(self) -> int:
        """Chunks there were, recorded or not, as far as is known."""
        return self._chunks_seen

    def chunks_were(self, total: int) -> None:
        """There have been `total` chunks."""
        self._chunks_seen = max(self._chunks_seen, total)
        self.chunks_dropped = self._chunks_seen - self.chunks


class FlightWriter:
    """Writes one flight record. Every method may raise OSError; then the file ends where it ends."""

    def __init__(self, output: IO[bytes], about: Mapping[str, str]) -> None:
        """Begin a file; `about` describes the run and goes to its head."""
        self.counts = Counts()
        self._offset = time.time_ns() - time.monotonic_ns()
        self._output = output
        self._mcap = Writer(output, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._mcap.start(profile=topics.FORMAT, library="gigaedge")
        self._mcap.add_metadata(
            topics.FORMAT,
            {"version": topics.VERSION, "monotonic_to_epoch_ns": str(self._offset), **about},
        )
        self._channels: dict[str, int] = {}
        for topic, (name, schema) in topics.SCHEMAS.items():
            schema_id = self._mcap.register_schema(name, "jsonschema", json.dumps(schema).encode())
            self._channels[topic] = self._mcap.register_channel(topic, "json", schema_id)
        self._texts: dict[int, str] = {0: "", -1: LOST}
        self._again: dict[int, list[list[dict[str, Any]]]] = {}
        self._names = [DIM_NAMES[arm_slice(side)] for side in SIDES]
        self._take: dict[Kind, Callable[[Packet, str], None]] = {
            Kind.TICK: self._tick,
            Kind.READ: self._read,
            Kind.TEXT: self._text,
            Kind.EVENT: self._event,
            Kind.TAKEN: self._taken,
            Kind.PLANNED: self._planned,
            Kind.END: self._end,
        }

    def take(self, packet: Packet, sender: str) -> None:
        """Write what a packet holds; `sender` is `supervisor`, `control` or `policy`."""
        self._take[packet.kind](packet, sender)

    def flush(self) -> None:
        """Hand what is compressed to the operating system."""
        self._output.flush()

    def finish(self) -> None:
        """End the file in order."""
        counts = self.counts
        told = {"ticks": counts.ticks_total, "chunks": counts.chunks_total, "dropped": counts.packets_dropped}
        self._mcap.add_metadata(topics.SUMMARY, {name: str(count) for name, count in told.items()})
        self._mcap.finish()
        self._output.flush()

    def _write(self, topic: str, moment: float, message: dict[str, Any], sequence: int = 0) -> None:
        at = self._nanoseconds(moment)
        self._mcap.add_message(self._channels[topic], at, topics.encode(message), at, sequence)

    def _nanoseconds(self, moment: float) -> int:
        return max(0, round(moment * 1e9) + self._offset)

    def _tick(self, packet: Packet, sender: str) -> None:
        tick = np.frombuffer(packet.data, TICK)[0]
        number, now = packet.large, packet.time
        self.counts.dropped(sender, packet.small)
        self.counts.tick(number)
        joints: dict[str, float | str] = {}
        sent: dict[str, float | str] = {}
        arms: dict[str, list[dict[str, Any]]] = {}
        sends: dict[str, str] = {}
        send_errors: dict[str, str] = {}
        again = self._again.pop(number, [[], []])
        self._again.clear()
        for index, (side, names) in enumerate(zip(SIDES, self._names, strict=True)):
            arm = tick["arms"][index]
            if arm["reading"] == Reading.STATE:
                joints |= topics.by_joint(names, arm["values"].tolist())
            if arm["reading"] != Reading.NONE:
                arms[side] = [self._reading(arm), *again[index]]
                if int(arm["reads"]) != len(arms[side]):
                    arms[side].append({"error": LOST, "lost": int(arm["reads"]) - len(arms[side])})
            if arm["sending"] != Sending.NONE:
                sent |= topics.by_joint(names, arm["sent"].tolist())
                sends[side] = Sending(int(arm["sending"])).name.lower()
                if arm["send_text"]:
                    send_errors[side] = self._texts.get(int(arm["send_text"]), LOST)
        if joints:
            self._write(topics.JOINTS, now, joints, number)
        if tick["has_target"]:
            self._write(topics.TARGETS, now, topics.by_joint(DIM_NAMES, tick["target"].tolist()), number)
        if sent:
            self._write(topics.SENT, now, sent, number)
        taken = int(tick["taken"])
        message = {
            "now": now,
            "took": float(tick["done"]) - now,
            "state": State(int(tick["state"])).name.lower(),
            "fault": FaultCode(int(tick["fault"])).name.lower(),
            "order": int(tick["order"]),
            "policy_alive": bool(tick["policy_alive"]),
            "supervisor_alive": bool(tick["supervisor_alive"]),
            "stop_asked": bool(tick["stop_asked"]),
            "chunk": int(tick["chunk"]),
            "taken": taken or None,
            "arms": arms,
            "sends": sends,
            "send_errors": send_errors,
        }
        self._write(topics.TICK, now, message, number)

    def _reading(self, arm: np.void) -> dict[str, Any]:
        text = self._texts.get(int(arm["text"]), LOST)
        if arm["reading"] == Reading.ERROR:
            return {"error": text}
        stamp = topics.write_number(float(arm["stamp"]))
        code = FaultCode(int(arm["code"])).name.lower()
        return {"stamp": stamp, "enabled": bool(arm["enabled"]), "fault": text or None, "code": code}

    def _read(self, packet: Packet, sender: str) -> None:
        arm = np.frombuffer(packet.data, READ)[0]["arm"]
        reading = self._reading(arm) | {"clock": packet.time}
        if arm["reading"] == Reading.STATE:
            reading["values"] = [topics.write_number(value) for value in arm["values"].tolist()]
        self._again.setdefault(packet.large, [[], []])[packet.small].append(reading)

    def _text(self, packet: Packet, sender: str) -> None:
        self._texts[packet.small] = packet.text

    def _event(self, packet: Packet, sender: str) -> None:
        message = {
            "timestamp": self._timestamp(packet.time),
            "level": packet.small,
            "message": packet.text,
            "name": sender,
            "file": "",
            "line": 0,
        }
        self._write(topics.EVENTS, packet.time, message)

    def _taken(self, packet: Packet, sender: str) -> None:
        record = np.frombuffer(packet.data, ChunkMailbox.layout)[0]
        actions = record["actions"][: int(record["count"])].tolist()
        message: dict[str, Any] = {
            name: topics.write_number(record[name].item())
            for name in ChunkMailbox.layout.names or ()
            if name != "actions"
        }
        message["actions"] = [[topics.write_number(value) for value in row] for row in actions]
        self._write(topics.CHUNK, packet.time, message, packet.large)

    def _planned(self, packet: Packet, sender: str) -> None:
        about, arrays = read_planned(packet.file)
        self.counts.dropped(sender, packet.small)
        self.counts.chunk(packet.large)
        composite = arrays.pop("composite")
        observed = about["observed"]
        image = {
            "timestamp": self._timestamp(observed),
            "frame_id": "composite",
            "data": _picture(composite, "JPEG", quality=JPEG_QUALITY),
            "format": "jpeg",
        }
        message = {
            "id": packet.large,
            "observed": observed,
            "rate": about["rate"],
            "composite": _picture(composite, "PNG", compress_level=PNG_LEVEL),
            "frames": about["frames"],
            "arrays": {name: _array(values) for name, values in arrays.items()},
        }
        self._write(topics.OBSERVATION, packet.time, message, packet.large)
        self._write(topics.COMPOSITE, observed, image, packet.large)
        self._write(topics.TIMINGS, packet.time, about["stages"], packet.large)

    def _end(self, packet: Packet, sender: str) -> None:
        self.counts.dropped(sender, packet.small)
        if sender == "control":
            self.counts.ticks_were(packet.large)
        elif sender == "policy":
            self.counts.chunks_were(packet.large)

    def _timestamp(self, moment: float) -> dict[str, int]:
        sec, nsec = divmod(self._nanoseconds(moment), 10**9)
        return {"sec": sec, "nsec": nsec}


def read_planned(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `ChunkTap.planned` put into its file: the description, and the arrays by name."""
    from safetensors.numpy import load

    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["about"])
    return about, load(content)


def _picture(image: NDArray[np.uint8], kind: str, **options: int) -> str:
    """RGB of shape (H, W, 3), encoded, as base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def _array(values: NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode()
    return {"dtype": values.dtype.name, "shape": list(values.shape), "data": data}
