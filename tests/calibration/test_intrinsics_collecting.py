from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gigaedge.errors import CalibrationError
from gigaedge_calibration import collecting
from gigaedge_calibration.collecting import Collector, Offer, as_delivered, collect
from gigaedge_calibration.cv_compat import Detection
from tests.calibration.rendered_board import BOARD, LENS, detected, place_board, placements, rendered_set

SIZE = (640, 480)


def seen(
    distance: float = 0.4, tilt: float = 30.0, towards: float = 0.0, pixel: tuple[float, float] = (320, 240)
) -> Detection:
    place = place_board(BOARD, distance, np.radians(tilt), towards, 0.0, pixel, LENS)
    return detected([place], 0, noise=0.02)[0]


def offers(collector: Collector, *detections: Detection) -> list[Offer]:
    """Each twice, as a board that stands."""
    answers = []
    for detection in detections:
        collector.offer(detection)
        answers.append(collector.offer(detection))
    return answers


def test_a_view_is_taken_when_the_board_stands() -> None:
    collector = Collector(BOARD, SIZE, 20, LENS)
    view = seen()
    assert collector.offer(view) is Offer.MOVING
    moved = replace(view, corners=view.corners + 0.3)
    assert collector.offer(moved) is Offer.MOVING
    assert collector.offer(replace(moved, corners=moved.corners + 0.1)) is Offer.TAKEN
    assert len(collector) == 1


def test_a_view_is_taken_once() -> None:
    collector = Collector(BOARD, SIZE, 20, LENS)
    assert offers(collector, seen(), seen(0.42), seen(tilt=25)) == [Offer.TAKEN, Offer.KNOWN, Offer.KNOWN]
    assert offers(collector, seen(0.55), seen(towards=2.0), seen(pixel=(200, 240))) == [Offer.TAKEN] * 3
    assert len(collector) == 4


def test_too_little_of_the_board() -> None:
    collector = Collector(BOARD, SIZE, 20)
    view = seen()
    few = Detection(view.ids[:9], view.corners[:9], view.markers)
    one_row = Detection(view.ids[:8], view.corners[:8], view.markers)
    nothing = Detection(view.ids[:0], view.corners[:0], view.markers[:0])
    assert offers(collector, few, one_row, nothing) == [Offer.UNSEEN] * 3


def test_flat_views_are_limited() -> None:
    collector = Collector(BOARD, SIZE, 6, LENS)
    places = [(160, 120), (480, 120), (480, 360), (160, 360)]
    flat = [seen(tilt=5, pixel=place) for place in places]
    assert offers(collector, *flat) == [Offer.TAKEN] * 3 + [Offer.FLAT]
    assert collector.coverage.advice == "tilt the board more: 30 to 45 degrees, another way each time"
    assert offers(collector, seen(tilt=35)) == [Offer.TAKEN]


def test_the_last_views_are_for_what_is_missing() -> None:
    collector = Collector(BOARD, SIZE, 5, LENS)
    middle = [seen(0.6, towards=angle) for angle in (0.0, 1.5, 3.0, 4.5)]
    assert offers(collector, *middle) == [Offer.TAKEN] * 3 + [Offer.COVERED]
    assert offers(collector, seen(0.5, pixel=(150, 130))) == [Offer.TAKEN]


@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
def test_flip_is_undone(flip: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    once = as_delivered(image, flip)
    assert (flip == "none") == np.array_equal(once, image)
    np.testing.assert_array_equal(as_delivered(once, flip), image)


@dataclass(frozen=True)
class Frame:
    role: str
    image: np.ndarray
    number: int
    captured: float


class Shown:
    """A cell whose camera delivers these pictures, each twice, over and over."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self._frames = self._deliver(pictures)

    def next_pictures(self, timeout: float = 2.0) -> dict[str, Frame]:
        return {"cam_high": next(self._frames)}

    def _deliver(self, pictures: list[np.ndarray]) -> Iterator[Frame]:
        number = 0
        while True:
            for picture in pictures:
                for _ in range(2):
                    number += 1
                    yield Frame("cam_high", picture, number, number / 30)


def test_pictures_are_collected_as_delivered() -> None:
    pictures = [view.picture for view in rendered_set()[:4]]
    told: list[str] = []
    captures = collect(
        Shown([as_delivered(picture, "both") for picture in pictures]),  # type: ignore[arg-type]
        "cam_high",
        Collector(BOARD, SIZE, 3),
        flip="both",
        show=lambda collector, hint: told.append(f"{len(collector)} {hint}"),
    )
    assert len(captures) == 3
    assert all(any(np.array_equal(capture.image, picture) for picture in pictures) for capture in captures)
    assert told[0] == "0 hold still"
    assert told[-1].startswith("3 ")


def test_giving_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "SILENCE", 0.0)
    told: list[str] = []
    with pytest.raises(CalibrationError, match="cam_high: 0 of 3 views after 0 s; no board in the picture"):
        collect(
            Shown([np.full((480, 640, 3), 128, np.uint8)]),  # type: ignore[arg-type]
            "cam_high",
            Collector(BOARD, SIZE, 3),
            timeout=0.3,
            show=lambda collector, hint: told.append(hint),
        )
    assert told[-1].startswith("no board in the picture")


def test_what_a_person_would_show_is_enough() -> None:
    collector = Collector(BOARD, SIZE, 20)
    shown = detected(placements(BOARD, 60, 7), 7)
    answers = offers(collector, *shown)
    assert answers.count(Offer.TAKEN) == len(collector) >= 20
    assert collector.coverage.part > 0.75
