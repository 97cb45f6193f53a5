"""Change a few values of the cameras in a site file, and nothing else: comments, order and layout stay.

The text is edited where the YAML parser says a value is. The result is parsed again and must differ from the file
before in exactly these values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gigaedge.errors import ConfigError
from gigaedge.files import write_text
from gigaedge.robot import CameraRole
from gigaedge.site import load_site

Values = Mapping[CameraRole, Mapping[str, str | float]]
"""By role: keys of `CameraConfig` with their new values."""


def camera_lines(values: Values) -> list[str]:
    """What a person would write into the site file, one line a camera."""
    return [
        f"{role}: " + ", ".join(f"{key}: {_scalar(value)}" for key, value in found.items())
        for role, found in values.items()
    ]


def edit_cameras(file: Path, values: Values) -> None:
    """Set values of cameras in the site file `file`, whole or not at all.

    Raises ConfigError as `load_site` does, and where the file is written in a way that cannot be edited (anchors, or
    keys that are not written out); then nothing is changed.
    """
    load_site(file)
    before = file.read_text(encoding="utf-8")
    after = _edited(before, values)
    wanted = yaml.safe_load(before)
    for camera in wanted["cameras"]:
        camera.update(values.get(camera["role"], {}))
    if yaml.safe_load(after) != wanted:
        raise ConfigError(
            f"{file}: cannot be edited as it is written; write by hand: {'; '.join(camera_lines(values))}"
        )
    write_text(file, after)
    try:
        load_site(file)
    except ConfigError:
        write_text(file, before)
        raise


def _edited(text: str, values: Values) -> str:
    """The text with the values put in, as far as they have a place."""
    edits: list[tuple[int, int, str]] = []
    for camera in _cameras(yaml.compose(text, Loader=yaml.SafeLoader)):
        entries = {key.value: (key, value) for key, value in camera.value}
        if "role" not in entries:
            continue
        key, role = entries["role"]
        added = []
        for name, value in values.get(role.value, {}).items():
            if name in entries:
                at = entries[name][1]
                edits.append((at.start_mark.index, at.end_mark.index, _scalar(value)))
            else:
                added.append(f"{name}: {_scalar(value)}")
        if added and camera.flow_style:
            end = camera.value[-1][1].end_mark.index
            edits.append((end, end, "".join(f", {line}" for line in added)))
        elif added:
            newline = text.find("\n", role.end_mark.index)
            end = len(text) if newline < 0 else newline
            indent = " " * key.start_mark.column
            edits.append((end, end, "".join(f"\n{indent}{line}" for line in added)))
    # From the end to the beginning, so that places stay valid.
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[end:]
    return text


def _cameras(root: Any) -> list[Any]:
    return next(value for key, value in root.value if key.value == "cameras").value  # type: ignore[no-any-return]


def _scalar(value: str | float) -> str:
    """As YAML reads it back: text in quotes, since a serial number of digits is no number."""
    return json.dumps(value) if isinstance(value, str) else f"{value:.6g}"
