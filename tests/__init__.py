"""Tests; a package, so that tests share helpers by `from tests.x import y` whatever else is installed."""
