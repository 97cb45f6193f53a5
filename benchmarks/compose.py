"""How long a composite of three 640x480 pictures takes, beside one plain Pillow resize of one of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from gigaedge.compose import Compositor
from gigaedge.robot import CAMERA_ROLES


def median_ms(call: Callable[[], object], repeats: int = 200) -> float:
    """Median time of one call, ms."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    """Print both medians and their ratio."""
    rng = np.random.default_rng(0)
    images = {role: rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for role in CAMERA_ROLES}
    compositor = Compositor((320, 384))
    composite = median_ms(lambda: compositor.compose(images))
    one = images["cam_high"]
    resize = median_ms(lambda: np.asarray(Image.fromarray(one).resize((320, 384), Image.Resampling.BILINEAR)))
    print(f"composite 320x384 from three 640x480: {composite:.2f} ms")
    print(f"one 640x480 picture resized to 320x384: {resize:.2f} ms; ratio {composite / resize:.2f}")


if __name__ == "__main__":
    main()
