"""The process in which Great Expectations works, see `tasks.validation.expectations`.

The library takes longer to import than all laws take. So the process begins as soon as the step
does, before this process imports pandas, and every validation of this process asks it.
"""

import os
import socket
import subprocess
import sys
from functools import cache
from multiprocessing.connection import Connection

MODULE = "tasks.validation.expectations"


def start() -> None:
    """Start the process, unless it runs already."""
    connection_to()


@cache
def connection_to() -> Connection:
    """Connect to the process. The process ends when this one does, however that ends."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", MODULE, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return Connection(ours.detach())


def forget(connection: Connection) -> None:
    """End the process. The next validation starts another."""
    connection.close()
    connection_to.cache_clear()
