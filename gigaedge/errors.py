"""Every error gigaedge raises on purpose, with the exit code it ends a command with.

    GigaedgeError                  1
    +-- CheckFailedError           1   a comparison or a gate did not hold
    +-- InputError                 2   something a person wrote or passed is wrong
    |   +-- ConfigError            2   a site file
    |   +-- BundleError            2   a policy bundle or an exported text encoder
    |   +-- CheckpointError        2   a checkpoint, its statistics or a prompt embedding
    |   +-- DatasetError           2   a LeRobot dataset
    |   +-- CalibrationError       2   a calibration file, or captures that do not determine one
    |   +-- ObservationError       2   an image or a state of the wrong shape, type or range
    +-- DeviceError                3   a device is absent, silent or refuses
        +-- CameraError            3
        +-- ArmError               3
        +-- ProcessError           3   a child process died or never came up

A message is one line: what was expected, what came, and what would mend it.
"""

from __future__ import annotations


class GigaedgeError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class CheckFailedError(GigaedgeError):
    """A parity check, a gate or a budget did not hold."""


class InputError(GigaedgeError):
    """A file, flag or array that a person handed over is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A site file is missing, malformed or inconsistent."""


class BundleError(InputError):
    """A policy bundle or an exported text encoder is missing, damaged or of an unknown schema."""


class CheckpointError(InputError):
    """A checkpoint, its normalisation statistics or a prompt embedding is unusable."""


class DatasetError(InputError):
    """A LeRobot dataset is missing, damaged, of another version or of another robot."""


class CalibrationError(InputError):
    """A calibration file or a set of captures is missing, damaged, or does not determine what is asked."""


class ObservationError(InputError):
    """An image or state has the wrong shape, type or values."""


class DeviceError(GigaedgeError):
    """A device is absent, silent or refuses to do what it was asked."""

    exit_code = 3


class CameraError(DeviceError):
    """A camera is absent, stalled or delivers something unexpected."""


class ArmError(DeviceError):
    """An arm is absent, silent, at fault, or its bus does not take frames."""


class ProcessError(DeviceError):
    """A process of the runtime died or did not come up in time."""
