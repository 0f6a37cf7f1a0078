"""Starting child processes that never outlive their parent."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

_PR_SET_PDEATHSIG = 1


class ChildOptions(TypedDict, total=False):
    """Keyword arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec`."""

    preexec_fn: Callable[[], None]
    start_new_session: bool
    user: int
    group: int
    extra_groups: list[int]


def tied(stop_signal: signal.Signals, run_as: int | None = None) -> ChildOptions:
    """Options for a child that gets `stop_signal` when its parent dies, however it dies, even by SIGKILL.

    Linux's parent-death signal does this without a watchdog process. It is bound to the *thread* that started the
    child, so call from one that lives as long as the program. The child has a session of its own: a terminal's
    Ctrl-C reaches the parent alone, which then stops its children in order.
    """
    options: ChildOptions = {"start_new_session": True}
    if run_as is not None:
        options |= {"user": run_as, "group": run_as, "extra_groups": []}
    if sys.platform == "linux":
        # Loaded here, because between fork and exec nothing should be allocated or imported.
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        parent, number = os.getpid(), int(stop_signal)

        def die_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
            # The parent may have died before the line above took effect.
            if os.getppid() != parent:
                os._exit(1)

        options["preexec_fn"] = die_with_parent
    return options


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent (a zombie) does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so it exists
    try:
        # The state is the first field behind the program's name, which is in parentheses and may hold any character.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    return state not in (b"Z", b"X")
