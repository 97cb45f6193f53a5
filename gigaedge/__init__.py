"""What the exporter and the robot agree on: bundles, site files, units, errors, clocks."""

__version__ = "0.1.0"
