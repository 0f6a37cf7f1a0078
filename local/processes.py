"""Child processes: started, supervised, restarted after a crash, and never outliving their parent."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from local.files import tail

_PR_SET_PDEATHSIG = 1


class ChildOptions(TypedDict, total=False):
    """Keyword arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec`."""

    preexec_fn: Callable[[], None]
    start_new_session: bool
    user: int
    group: int
    extra_groups: list[int]


def tied_options(stop_signal: signal.Signals, run_as: int | None = None) -> ChildOptions:
    """Options for a child that receives `stop_signal` when its parent dies, even by SIGKILL.

    Linux's parent-death signal does this without a watchdog process. It is bound to the *thread* that started the
    child, so call from one that lives as long as the program. The child has its own session: a terminal's Ctrl-C
    reaches only the parent, which then stops its children in order.
    """
    options: ChildOptions = {"start_new_session": True}
    if run_as is not None:
        options |= {"user": run_as, "group": run_as, "extra_groups": []}
    if sys.platform == "linux":
        # Loaded before the fork, because a child must not allocate or import between fork and exec.
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        parent, number = os.getpid(), int(stop_signal)

        def die_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
            # The parent may have died before the signal was set.
            if os.getppid() != parent:
                os._exit(1)

        options["preexec_fn"] = die_with_parent
    return options


def is_alive(pid: int) -> bool:
    """Whether the process runs; an exited process that is not reaped (a zombie) does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process of another user
    try:
        # The state follows the program's name, which is in parentheses and may contain any character.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    return state not in (b"Z", b"X")


_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_SOUND_AFTER = 10.0
"""Seconds after which a restarted process counts as stable, so that its next crash restarts it at once."""


class ProcessError(Exception):
    """A process did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class ProcessSpec:
    """A process to run, and how to check that it is ready."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    stop_signal: signal.Signals = signal.SIGTERM
    run_as: int | None = None
    before: Callable[[], None] = field(default=lambda: None)
    """Called before every start, to remove what a crash left."""


class SupervisedProcess:
    """Keeps one process running until it is stopped."""

    def __init__(self, spec: ProcessSpec, report: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.spec = spec
        self._report = report
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The pid of the running process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self, patience: float = 60.0) -> None:
        """Start the process, wait until it is ready, then watch it. Raises ProcessError."""
        await self._spawn()
        if not await self._ready(patience):
            await self._end()
            raise ProcessError(f"{self.spec.name} did not start. {self._last_words()}")
        self._changed()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.spec.name}")

    async def stop(self, patience: float = 8.0) -> None:
        """Stop the process and wait; it is killed after `patience` seconds."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._end(patience)

    async def _spawn(self) -> None:
        await asyncio.to_thread(self.spec.before)
        with self.spec.log.open("ab") as log:
            # The fork happens in this thread, to which the parent-death signal is bound.
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=dict(self.spec.environment),
                **tied_options(self.spec.stop_signal, self.spec.run_as),
            )

    async def _ready(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.pid is not None and time.monotonic() < deadline:
            if await self.spec.ready():
                # Where it has ended, another process answers on its port.
                return self.pid is not None
            await asyncio.sleep(0.03)
        return False

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            assert self._process is not None  # noqa: S101 - started before it is watched
            started = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started > _SOUND_AFTER:
                pause = _FIRST_PAUSE
            self._report(f"{self.spec.name} ended ({_describe(code)}), starting it again. {self._last_words()}")
            self._changed()
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                await self._spawn()
                if await self._ready(30.0):
                    break
                await self._end()
                self._report(f"{self.spec.name} did not start, trying again. {self._last_words()}")
            self._report(f"{self.spec.name} runs again")
            self._changed()

    async def _end(self, patience: float = 8.0) -> None:
        process = self._process
        if process is None:
            return
        for number, wait in ((self.spec.stop_signal, patience), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number) if process.returncode is None else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), wait)
                return

    def _last_words(self) -> str:
        words = tail(self.spec.log)
        return f"The end of {self.spec.log}:\n{words}" if words else f"{self.spec.log} is empty."


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
