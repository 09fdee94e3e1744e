"""Who does the work: processes of this host, or a Dask cluster. A worker that dies takes one task with it, no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import Any, Protocol, Self

from ...isa.errors import UsageError


class Pool(Protocol):
    """Workers that take tasks; used in a `with` statement, at whose end all of them are stopped."""

    @property
    def size(self) -> int:
        """How many tasks are worth having on their way at once."""
        ...

    def submit(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Hand out a task, of which there are fewer than `size` on their way."""
        ...

    def take(self, done: Future[Any]) -> Any:
        """The result of a task that is over, None where its worker died. Raises UsageError where workers cannot do such
        tasks at all."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


class Processes:
    """Processes of this host. Each is an executor of its own, so that the death of one is known to be its own."""

    def __init__(self, count: int) -> None:
        self.size = count
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[Any], ProcessPoolExecutor] = {}

    def submit(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """See `Pool`."""
        while True:
            executor = self._idle.pop() if self._idle else _one_process()
            try:
                future = executor.submit(task, *arguments)
            except BrokenProcessPool:
                # It died while it had nothing to do.
                executor.shutdown(wait=False)
                continue
            self._busy[future] = executor
            return future

    def take(self, done: Future[Any]) -> Any:
        """See `Pool`."""
        executor = self._busy.pop(done)
        if isinstance(done.exception(), BrokenProcessPool):
            executor.shutdown(wait=False)
            return None
        self._idle.append(executor)
        return done.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for executor in self._busy.values():
            # What is under way is done again when the study goes on; nobody waits for it now.
            for process in list((executor._processes or {}).values()):  # pyright: ignore[reportPrivateUsage]
                process.kill()
        for executor in (*self._idle, *self._busy.values()):
            executor.shutdown(wait=True, cancel_futures=True)


def _one_process() -> ProcessPoolExecutor:
    # Forking a process whose libraries run threads can deadlock, so workers start anew.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker)


def _start_worker() -> None:
    """A worker leaves Ctrl-C to the process that started it, and ends with that process however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Cluster:
    """A Dask cluster: its scheduler hands tasks of workers that died to others, up to its own limit."""

    def __init__(self, address: str) -> None:
        # Its annotations are partial: what comes out of it is narrowed here.
        library: Any = import_module("distributed")

        try:
            self._client = library.Client(address, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address!r}: {error}") from None
        self._address = address
        self._killed = library.scheduler.KilledWorker
        self._executor = self._client.get_executor(pure=False)

    @property
    def size(self) -> int:
        """One task a thread of the workers there are now; one where there is none yet."""
        threads: dict[str, int] = self._client.nthreads()
        return sum(threads.values()) or 1

    def submit(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """See `Pool`."""
        return self._executor.submit(task, *arguments)

    def take(self, done: Future[Any]) -> Any:
        """See `Pool`."""
        try:
            return done.result()
        except self._killed:
            return None
        except CancelledError:
            raise UsageError(
                f"the Dask scheduler at {self._address!r} is gone", "the study is kept: give the same command again"
            ) from None
        except Exception as error:
            # A task catches what goes wrong in it: this one could not even be begun.
            raise UsageError(
                f"workers of {self._address!r} cannot do the work: {error}", "install the same attnc where they run"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._client.close()
