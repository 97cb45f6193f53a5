"""mrcal's `.cameramodel`, version 2 of mrcal: written only.

Its OPENCV models have OpenCV's coefficients in OpenCV's order and need all of them: 5 or 8. Extrinsics are
`rt_fromref`, rotation vector and translation of `T_cam_ref`; ref is the frame that the camera is mounted in.
"""

from __future__ import annotations

from gigaedge.calibration import IntrinsicsInfo, TransformInfo
from gigaedge.poses import inverse, rotation_vector

_MODELS = {
    "pinhole": "LENSMODEL_PINHOLE",
    "radial_tangential": "LENSMODEL_OPENCV5",
    "rational": "LENSMODEL_OPENCV8",
}


def write(lens: IntrinsicsInfo, mount: TransformInfo | None) -> str:
    """The file's text; without a mount the camera is its own reference."""
    numbers = [lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion]
    if mount is None:
        reference, six = "the camera itself: where it is mounted is not known", [0.0] * 6
    else:
        t_cam_ref = inverse(mount.matrix)
        reference = mount.parent
        six = [*rotation_vector(t_cam_ref[:3, :3]).tolist(), *t_cam_ref[:3, 3].tolist()]
    return "\n".join(
        [
            "{",
            f"    'lensmodel':  '{_MODELS[lens.model]}',",
            "    # fx, fy, cx, cy and the coefficients in OpenCV's order",
            f"    'intrinsics': [ {', '.join(map(repr, numbers))} ],",
            f"    # rt_fromref, rad and m; the reference is {reference}",
            f"    'extrinsics': [ {', '.join(map(repr, six))} ],",
            f"    'imagersize': [ {lens.width}, {lens.height} ],",
            "}",
            "",
        ]
    )
