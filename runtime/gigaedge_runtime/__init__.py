"""Cameras -> composite -> chunk -> limits -> arm. Never imports torch or onnx.

    from gigaedge_runtime import Observation, Policy
    policy = Policy.load("bundle")
    chunk = policy.chunk(Observation(composite, state))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaedge_runtime.policy import Chunk, Observation, Policy

__all__ = ["Chunk", "Observation", "Policy"]


def __getattr__(name: str) -> Any:
    # On demand: the control process imports this package and must not load ONNX Runtime.
    if name in __all__:
        from gigaedge_runtime import policy

        return getattr(policy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
