from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gigaedge.errors import ConfigError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import load_site

POSE = [0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03]


def site(folder: Path, drop: str = "", **changes: Any) -> Path:
    data: dict[str, Any] = {
        "schema": 1,
        "bundle": "b",
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
    } | changes
    data.pop(drop, None)
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    cameras = [{"role": role, "driver": "video", "file": "clip.mkv"} for role in CAMERA_ROLES]
    loaded = load_site(site(tmp_path, cameras=cameras))
    assert loaded.bundle == tmp_path / "b"
    assert loaded.cameras[0].file == tmp_path / "clip.mkv"
    assert load_site(site(tmp_path, bundle="demo")).bundle == "demo"


def test_a_misspelt_key_is_named_before_the_one_it_leaves_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key `camras`; did you mean `cameras`\?"):
        load_site(site(tmp_path, drop="cameras", camras=[]))
    with pytest.raises(ConfigError, match="missing key `cameras`"):
        load_site(site(tmp_path, drop="cameras"))


def test_every_arm_that_exists_needs_a_park_pose_where_arms_are_parked(tmp_path: Path) -> None:
    left = {"side": "left", "driver": "sim", "park": POSE}
    loaded = load_site(site(tmp_path, arms=[left, {"side": "right", "driver": "sim"}]))
    with pytest.raises(ConfigError, match=r"arms\[1\].park: the right arm has no park pose; give six joint"):
        loaded.require_park()
    load_site(site(tmp_path, arms=[left, {"side": "right", "driver": "absent", "pose": POSE}])).require_park()


def test_a_named_adapter_is_one_on_usb(tmp_path: Path) -> None:
    def arms(can: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {"side": "left", "driver": "piper", "can": {"adapter": "A1", **can}},
            {"side": "right", "driver": "sim"},
        ]

    assert load_site(site(tmp_path, arms=arms({}))).arm("left").can.adapter == "A1"
    with pytest.raises(ConfigError, match="`adapter` belongs to interface socketcan"):
        load_site(site(tmp_path, arms=arms({"interface": "gigaedge-sim"})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "`schema`"),
        ({"inference": {"solver": "heun"}}, r"`inference\.solver`"),
        ({"limits": {"position_min": [0.0] * 5}}, r"`limits\.position_min`"),
        (
            {"limits": {"position_min": [3.0, 0, -2.9, -1.7, -1.2, -2.0]}},
            "joint 1: need -3.2 <= position_min",
        ),
        ({"limits": {"gripper_min": 0.08}}, "gripper_min must be below gripper_max"),
        ({"arms": [{"side": "left", "driver": "sim"}] * 2}, "need one `left` and one `right`"),
        (
            {"arms": [{"side": side, "driver": "absent", "pose": POSE} for side in ("left", "right")]},
            "at least one arm must not be absent",
        ),
        (
            {"arms": [{"side": side, "driver": "piper"} for side in ("left", "right")]},
            "both arms are on the same CAN channel",
        ),
        (
            {"cameras": [{"role": role, "driver": "realsense", "serial": "1"} for role in CAMERA_ROLES]},
            "two cameras have the same serial",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_site(site(tmp_path, **changes))


def test_no_yaml_at_all(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_site(tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_site(tmp_path / "site.yaml")
