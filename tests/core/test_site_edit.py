from pathlib import Path

import pytest
import yaml

from gigaedge.errors import ConfigError
from gigaedge.site import load_site
from gigaedge.site_edit import camera_lines, edit_cameras

FLOW = """\
# a cell
bundle: demo # the policy
cameras:
  # three of them
  - {role: cam_high, driver: realsense, serial: "1", width: 640}  # on the mast
  - {role: cam_left_wrist, driver: realsense, serial: '2', width: 640}
  - {driver: realsense, serial: "0003", role: cam_right_wrist}
arms:
  - {side: left, driver: sim}
  - {side: right, driver: sim}
"""
BLOCK = """\
bundle: demo
cameras:
  - role: cam_high # on the mast
    driver: realsense
    serial: "1" # by the door

  - driver: realsense
    serial: "2"
    role: cam_left_wrist
  - role: cam_right_wrist
    driver: realsense
    serial: "3"
arms:
- {side: left, driver: sim}
- {side: right, driver: sim}
"""


def site(tmp_path: Path, text: str) -> Path:
    (tmp_path / "site.yaml").write_text(text)
    return tmp_path / "site.yaml"


def test_serials_are_swapped_and_every_comment_stays(tmp_path):
    file = site(tmp_path, FLOW)
    edit_cameras(file, {"cam_left_wrist": {"serial": "0003"}, "cam_right_wrist": {"serial": "2"}})
    assert file.read_text() == FLOW.replace("'2'", '"X"').replace('"0003"', '"2"').replace('"X"', '"0003"')


def test_missing_keys_are_added_to_a_flow_mapping(tmp_path):
    file = site(tmp_path, FLOW)
    edit_cameras(file, {"cam_high": {"exposure": 0.0083, "gain": 20, "white_balance": 4300}})
    assert (
        '  - {role: cam_high, driver: realsense, serial: "1", width: 640, exposure: 0.0083, gain: 20, '
        "white_balance: 4300}  # on the mast\n"
    ) in file.read_text()
    assert load_site(file).cameras[0].exposure == 0.0083


@pytest.mark.parametrize("role", ["cam_high", "cam_left_wrist", "cam_right_wrist"])
def test_missing_keys_are_added_to_a_block_mapping(tmp_path, role):
    file = site(tmp_path, BLOCK)
    edit_cameras(file, {role: {"exposure": 0.01, "serial": "9", "gain": 7}})
    camera = next(camera for camera in load_site(file).cameras if camera.role == role)
    assert (camera.exposure, camera.gain, camera.serial) == (0.01, 7, "9")
    text = file.read_text()
    if role == "cam_high":
        assert "  - role: cam_high # on the mast\n    exposure: 0.01\n    gain: 7\n    driver" in text
        assert 'serial: "9" # by the door' in text
    assert sorted(set(BLOCK.splitlines()) - set(text.splitlines()))[1:] == []


def test_a_file_without_a_last_newline(tmp_path):
    text = BLOCK.replace("arms:", "xarms:").rstrip().split("xarms:")
    moved = f"arms:{text[1]}\n{text[0]}".rstrip()
    file = site(tmp_path, moved)
    edit_cameras(file, {"cam_right_wrist": {"exposure": 0.01}})
    assert load_site(file).cameras[2].exposure == 0.01


def test_what_cannot_be_edited_is_said_and_left_alone(tmp_path):
    text = FLOW.replace("role: cam_high", "<<: {role: cam_high}")
    file = site(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        edit_cameras(file, {"cam_high": {"serial": "7"}, "cam_right_wrist": {"white_balance": 4000}})
    assert str(caught.value) == (
        f'{file}: cannot be edited as it is written; write by hand: cam_high: serial: "7"; '
        "cam_right_wrist: white_balance: 4000"
    )
    assert file.read_text() == text


def test_a_value_that_the_site_refuses_is_taken_back(tmp_path):
    file = site(tmp_path, FLOW)
    with pytest.raises(ConfigError, match="exposure"):
        edit_cameras(file, {"cam_high": {"exposure": 7.0}})
    with pytest.raises(ConfigError, match="the same serial 2"):
        edit_cameras(file, {"cam_high": {"serial": "2"}})
    assert file.read_text() == FLOW


def test_lines_to_paste():
    lines = camera_lines({"cam_high": {"serial": "0012", "exposure": 0.00833333333}})
    assert lines == ['cam_high: serial: "0012", exposure: 0.00833333']
    assert yaml.safe_load("{" + lines[0].split(": ", 1)[1] + "}")["serial"] == "0012"
