"""One commander per arm: two programs that command one arm would tear it between them.

A claim is a socket name in Linux' abstract namespace, which all users of the machine share and which goes with
the process that holds it, however that ends. It keeps gigaedge's own commands apart, not other programs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256

from gigaedge.errors import ArmError
from gigaedge.site import ArmConfig


@contextmanager
def claimed(arms: Iterable[ArmConfig]) -> Iterator[None]:
    """Hold the claim on these arms. Raises ArmError when another process, or this one, commands one already."""
    with ExitStack() as stack:
        for arm in arms:
            # A channel may be longer than a socket's name.
            name = sha256(f"{arm.can.interface}\0{arm.can.channel}".encode()).hexdigest()
            claim = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            try:
                claim.bind(f"\0gigaedge-arm-{name}")
            except OSError as error:
                raise ArmError(
                    f"{arm.side} arm on {arm.can.channel}: another gigaedge command has the arm; end that first"
                ) from error
        yield
