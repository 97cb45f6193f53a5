from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gigaedge.errors import ConfigError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import ExecutionConfig, load_site

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
            "joint 1: position_min 3.0 must be below position_max 2.6179",
        ),
        (
            {"limits": {"position_min": [-2.6179, -0.1, -2.967, -1.745, -1.22, -2.09439]}},
            r"joint 2: position_min -0\.1 is below the 0\.0 rad of profile piper; a site may narrow it, not widen it",
        ),
        (
            {
                "limits": {
                    "profile": "piper-before-1.6-3",
                    "position_max": [2.6179, 3.14, 0, 1.745, 1.22, 2.1],
                }
            },
            r"joint 6: position_max 2\.1 is above the 2\.09439 rad of profile piper-before-1\.6-3; a site may narrow",
        ),
        ({"limits": {"velocity": 3.01}}, r"velocity 3\.01 is above the 3\.0 rad/s of profile piper"),
        ({"limits": {"acceleration": 5.1}}, r"acceleration 5\.1 is above the 5\.0 rad/s\^2 of profile piper"),
        ({"limits": {"jerk": 501}}, r"jerk 501\.0 is above the 500\.0 rad/s\^3 of profile piper"),
        ({"limits": {"gripper_max": 0.11}}, r"gripper_max 0\.11 is above the 0\.1 m of profile piper"),
        ({"limits": {"gripper_effort": 5.5}}, r"gripper_effort 5\.5 is above the 5\.0 N\*m of profile piper"),
        ({"limits": {"profile": "pipper"}}, r"`limits\.profile`"),
        ({"limits": {"lead": 0.6}}, r"lead 0\.6 must be above tracking_error 0\.6: .* hide a blocked arm"),
        (
            {
                "limits": {"clearance": 0.1},
                "arms": [{"side": s, "driver": "sim", "base": {}} for s in ("left",)]
                + [{"side": "right", "driver": "sim"}],
            },
            r"limits\.clearance needs the place of both arms; right: that arm has no `base`",
        ),
        (
            {
                "limits": {"clearance": 0.1},
                "arms": [
                    {"side": "left", "driver": "sim", "base": {}},
                    {"side": "right", "driver": "absent", "pose": POSE, "base": {}},
                ],
            },
            "limits.clearance needs the place of both arms; right: that arm is absent",
        ),
        (
            {
                "arms": [
                    {"side": "left", "driver": "sim", "workspace": {"min": [0, 0, 0.2], "max": [1, 1, 0.2]}}
                ]
            },
            r"z: min 0\.2 must be below max 0\.2",
        ),
        (
            {
                "arms": [
                    {
                        "side": "left",
                        "driver": "absent",
                        "pose": POSE,
                        "workspace": {"min": [0, 0, 0], "max": [1, 1, 1]},
                    }
                ]
            },
            "`workspace` belongs to an arm that exists",
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
        ({"execution": {"handover": "rtcc"}}, r"`execution\.handover`"),
        ({"execution": {"crosfade": 0.1}}, r"unknown key `execution\.crosfade`; did you mean `crossfade`"),
        (
            {"execution": {"handover": "none", "crossfade": 0.1}},
            "`crossfade` says nothing with handover none; remove it, or choose handover rtc or crossfade or ensemble",
        ),
        (
            {"execution": {"handover": "crossfade", "guidance": 5}},
            "`guidance` says nothing with handover crossfade; remove it, or choose handover rtc",
        ),
        ({"execution": {"ensemble_decay": 0.2}}, "`ensemble_decay` says nothing with handover rtc"),
        (
            {"cameras": [{"role": role, "driver": "realsense", "serial": "1"} for role in CAMERA_ROLES]},
            r"cam_high and cam_left_wrist have the same serial 1; give each its own \(`gigaedge calibrate",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_site(site(tmp_path, **changes))


def test_each_bound_of_the_profile_may_be_used_up(tmp_path: Path) -> None:
    limits = {"velocity": 3.0, "acceleration": 5.0, "jerk": 500.0, "gripper_max": 0.1, "gripper_effort": 5.0}
    loaded = load_site(site(tmp_path, limits=limits))
    assert loaded.limits.joints.velocity == (3.0,) * 6
    assert loaded.limits.joints.acceleration == (5.0,) * 6
    assert loaded.limits.joints.position_max == loaded.limits.bounds.position_max


def test_the_lead_follows_the_tracking_error(tmp_path: Path) -> None:
    assert load_site(site(tmp_path, limits={"tracking_error": 0.4})).limits.measured_lead == 0.5
    assert (
        load_site(site(tmp_path, limits={"tracking_error": 0.4, "lead": 0.41})).limits.measured_lead == 0.41
    )


def test_no_yaml_at_all(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_site(tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_site(tmp_path / "site.yaml")


@pytest.mark.parametrize(
    ("execution", "fade", "decay"),
    [
        ({"handover": "none"}, 0.0, None),
        ({"handover": "crossfade"}, 0.15, None),
        ({"handover": "crossfade", "crossfade": 0.3}, 0.3, None),
        ({"handover": "rtc", "crossfade": 0.0, "guidance": 5}, 0.0, None),
        ({"handover": "ensemble", "ensemble_decay": 0.5}, 0.15, 0.5),
        ({"handover": "ensemble"}, 0.15, 0.1),
    ],
)
def test_a_way_of_handing_over_has_its_fade(
    tmp_path: Path, execution: dict[str, Any], fade: float, decay: float | None
) -> None:
    found = load_site(site(tmp_path, execution=execution)).execution
    assert (found.fade, found.decay) == (fade, decay)
    assert ExecutionConfig.model_validate(found.model_dump()) == found
