"""Rigid transforms as 4x4 matrices: `T_ab` takes b coordinates to a coordinates. Angles in rad, lengths in m.

A six-vector is a rotation vector (rad) and then a translation (m). It moves a transform by turning the child's axes
where they are and then shifting its origin, both in the coordinates of the parent frame a: `moved` and `difference`.
The covariance of a transform is that of such a six-vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def skew(vectors: NDArray[Any]) -> Array:
    """`[v]x`, shape (..., 3, 3), of vectors of shape (..., 3): `skew(a) @ b` is the cross product a x b."""
    matrix = np.zeros((*vectors.shape[:-1], 3, 3))
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2] = -z, y
    matrix[..., 1, 0], matrix[..., 1, 2] = z, -x
    matrix[..., 2, 0], matrix[..., 2, 1] = -y, x
    return matrix


def rotation(vectors: NDArray[Any]) -> Array:
    """Rotation matrices, shape (..., 3, 3), of rotation vectors, rad, shape (..., 3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., np.newaxis, np.newaxis]
    generator = skew(vectors)
    # sin(a)/a and (1 - cos a)/a^2, the latter by half angles: neither loses digits at small angles.
    first, half = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi))
    return np.asarray(np.eye(3) + first * generator + 0.5 * half**2 * (generator @ generator))


def rotation_vector(matrices: NDArray[Any]) -> Array:
    """Rotation vectors, rad, shape (..., 3), of rotation matrices of shape (..., 3, 3); lengths in [0, pi]."""
    quaternions = quaternion(matrices)
    imaginary = quaternions[..., 1:]
    sine = np.linalg.norm(imaginary, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternions[..., :1])
    return np.asarray(imaginary * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-300), 2.0))


def quaternion(matrices: NDArray[Any]) -> Array:
    """Unit quaternions w, x, y, z with w >= 0, shape (..., 4), of rotation matrices of shape (..., 3, 3)."""
    m = np.asarray(matrices, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Four times the outer product q q^T: its row with the greatest diagonal is q, scaled, without cancellation.
    outer = np.empty((*m.shape[:-2], 4, 4))
    for index, diagonal in enumerate(
        (1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz)
    ):
        outer[..., index, index] = diagonal
    for row, column, value in (
        (0, 1, m[..., 2, 1] - m[..., 1, 2]),
        (0, 2, m[..., 0, 2] - m[..., 2, 0]),
        (0, 3, m[..., 1, 0] - m[..., 0, 1]),
        (1, 2, m[..., 1, 0] + m[..., 0, 1]),
        (1, 3, m[..., 2, 0] + m[..., 0, 2]),
        (2, 3, m[..., 2, 1] + m[..., 1, 2]),
    ):
        outer[..., row, column] = outer[..., column, row] = value
    greatest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    rows = np.take_along_axis(outer, greatest[..., np.newaxis, np.newaxis], axis=-2)[..., 0, :]
    rows = np.where(rows[..., :1] < 0, -rows, rows)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def from_quaternion(quaternions: NDArray[Any]) -> Array:
    """Rotation matrices, shape (..., 3, 3), of quaternions w, x, y, z, shape (..., 4); any length but zero."""
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    generator = skew(unit[..., 1:])
    w = unit[..., :1, np.newaxis]
    return np.asarray(np.eye(3) + 2 * w * generator + 2 * generator @ generator)


def pose(matrices: NDArray[Any], translations: NDArray[Any]) -> Array:
    """Transforms, shape (..., 4, 4), of rotation matrices (..., 3, 3) and translations, m, (..., 3)."""
    leading = np.broadcast_shapes(matrices.shape[:-2], translations.shape[:-1])
    transforms = np.zeros((*leading, 4, 4))
    transforms[..., :3, :3] = matrices
    transforms[..., :3, 3] = translations
    transforms[..., 3, 3] = 1.0
    return transforms


def from_six(six: NDArray[Any]) -> Array:
    """Transforms, shape (..., 4, 4), of rotation vectors and translations, shape (..., 6)."""
    return pose(rotation(six[..., :3]), six[..., 3:])


def inverse(transforms: NDArray[Any]) -> Array:
    """`T_ba` of `T_ab`, shape (..., 4, 4)."""
    turned = np.swapaxes(transforms[..., :3, :3], -1, -2)
    return pose(turned, -(turned @ transforms[..., :3, 3:])[..., 0])


def apply(transforms: NDArray[Any], points: NDArray[Any]) -> Array:
    """Points in a coordinates, shape (..., n, 3), of `T_ab` (..., 4, 4) and points in b coordinates (..., n, 3)."""
    turned = points @ np.swapaxes(transforms[..., :3, :3], -1, -2)
    return np.asarray(turned + transforms[..., np.newaxis, :3, 3])


def moved(transforms: NDArray[Any], six: NDArray[Any]) -> Array:
    """`T_ab`, (..., 4, 4), turned about b's origin and shifted by six-vectors (..., 6) in a coordinates."""
    turned = rotation(six[..., :3]) @ transforms[..., :3, :3]
    return pose(turned, transforms[..., :3, 3] + six[..., 3:])


def difference(first: NDArray[Any], second: NDArray[Any]) -> Array:
    """The six-vectors, shape (..., 6), that move `second` to `first`: `moved(second, six) == first`."""
    turn = rotation_vector(first[..., :3, :3] @ np.swapaxes(second[..., :3, :3], -1, -2))
    return np.concatenate([turn, first[..., :3, 3] - second[..., :3, 3]], axis=-1)
