"""The CPU time of process trees, as Linux counts it in /proc (proc_pid_stat(5)), in seconds."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(roots: Mapping[str, int]) -> dict[str, float]:
    """The CPU that each tree of processes has used so far, by the name of its root.

    What a child used is its parent's once it has ended and was waited for, so a tree's sum never falls.
    """
    parents: dict[int, int] = {}
    used: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The second field is the program's name in parentheses; state is the third.
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                pid = int(entry.name)
                parents[pid] = int(fields[1])
                used[pid] = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)

    def tree(pid: int) -> int:
        own, ended = used.get(pid, (0, 0))
        return own + ended + sum(tree(child) for child in children.get(pid, []))

    return {name: tree(pid) / _TICKS for name, pid in roots.items()}
