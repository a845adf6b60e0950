"""Runs one program so that it ends with its supervisor: on Linux the kernel sends it a signal when the parent dies.

python -m portal.demo.child PROGRAM [ARGUMENT …]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == 1:
            raise SystemExit("the supervisor is gone already")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - our own command line


if __name__ == "__main__":
    main()
