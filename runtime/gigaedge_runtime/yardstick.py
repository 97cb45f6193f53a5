"""A fixed piece of work, timed beside a measurement: what the machine itself did meanwhile.

The work is that of inference: 48 rows through twelve square layers in ONNX Runtime, 1.2 GFLOP that stream 50 MB of
weights from memory. It knows nothing of the bundle, so two measurements of different bundles or versions of gigaedge
can both be divided by it. ONNX Runtime's version is part of it. It says nothing of a GPU.

It has as many threads as the policy: on a virtual computer two processors are now two cores and now two threads of one,
which takes from two threads nearly half of what they compute (1.7 times as long, the same process after process) and
from one nothing.

Of single and repeated products, square and flat ones, and sums over memory, this chain tracked chunks best while other
processes came and went (AMD EPYC, 2 cores): over twelve spells of disturbance, medians of chunk and yardstick had a
correlation of 0.97 (int8 policy, 2 threads) and 0.93 (fp32, 1 thread) at a slope near one; dividing took the spread of
log time between spells from 0.44 to 0.10 and from 0.51 to 0.21. One chunk and one yardstick had 0.77 and 0.84: divide
medians, not single chunks.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort

GRAPH = Path(__file__).with_name("yardstick.onnx")
"""Written by tools/write_products.py."""
_WARMUP = 3


class Yardstick:
    """A session of its own, with threads of its own that sleep between runs; about 50 MB."""

    def __init__(self, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
        (value,) = self._session.get_inputs()
        self._inputs = {value.name: np.ones(value.shape, np.float32)}
        for _ in range(_WARMUP):
            self.run()

    def run(self) -> float:
        """Do the work once; the time it took, s."""
        begin = perf_counter()
        self._session.run(None, self._inputs)
        return perf_counter() - begin
