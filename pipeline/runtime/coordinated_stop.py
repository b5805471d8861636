"""One step at which all processes stop, although a signal reaches them at different ones."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Protocol

from pipeline.runtime.run_dir import STOP_FILE
from pipeline.runtime.signals import received_signal


class StopCoordinator:
    """Agrees on the step to stop at, without a collective: nothing waits for a device.

    Processes count the same ticks (training and evaluation steps). The one that receives a signal proposes a tick a
    little ahead, the first proposal wins, and all processes look for one at every tick.
    """

    def __init__(self, world_size: int, rank: int, device: str, output_dir: Path) -> None:
        self.tick = 0
        self.stop_at: int | None = None
        self.rank = rank
        # Gradients are averaged in every step, so on a CPU no process is more than a step ahead of another. Elsewhere
        # Python runs ahead of the device by as many steps as the device's queue takes.
        self.margin = 0 if world_size == 1 else 2 if device == "cpu" else 16
        self.board: _Board | None = None
        if world_size > 1:
            # XLA has no torch.distributed store; the replicas of one host share a disk.
            self.board = _FileBoard(output_dir) if device == "xla" else _StoreBoard()

    def should_stop(self) -> bool:
        """Count a tick, and return whether all processes stop now."""
        self.tick += 1
        requested = received_signal() or (self.rank == 0 and self.board and self.board.requested())
        if self.stop_at is None and requested:
            proposed = self.tick + self.margin
            self.stop_at = self.board.propose(proposed) if self.board else proposed
        elif self.stop_at is None and self.board:
            self.stop_at = self.board.read()
        return self.stop_at is not None and self.tick >= self.stop_at


class _Board(Protocol):
    """Where processes propose and read the tick to stop at."""

    def requested(self) -> bool:
        """Whether something other than a signal asks to stop."""

    def propose(self, tick: int) -> int:
        """Propose a tick, and return the one that was proposed first."""

    def read(self) -> int | None:
        """The tick that was proposed first, if any."""


class _StoreBoard:
    """The key-value store of torch.distributed."""

    KEY = "pipeline/stop"

    def __init__(self) -> None:
        # torch 2.9 to 2.13 have no public name for the default group's store.
        from torch.distributed.distributed_c10d import _get_default_store

        self.store = _get_default_store()

    def requested(self) -> bool:
        return False

    def propose(self, tick: int) -> int:
        return int(self.store.compare_set(self.KEY, "", str(tick)))

    def read(self) -> int | None:
        return int(self.store.get(self.KEY)) if self.store.check([self.KEY]) else None


class _FileBoard:
    """A file in the run's folder. Creating `stop` there requests a stop as a signal would, which no thread receives."""

    def __init__(self, output_dir: Path) -> None:
        self.request = output_dir / STOP_FILE
        self.path = output_dir / f".stop-at-{os.getppid()}"  # the replicas share a parent; an earlier run had another
        for stale in set(output_dir.glob(".stop-at-*")) - {self.path}:
            stale.unlink(missing_ok=True)

    def requested(self) -> bool:
        return self.request.exists()

    def propose(self, tick: int) -> int:
        self.request.unlink(missing_ok=True)  # or it would stop the next run too
        proposal = self.path.with_name(f"{self.path.name}-{os.getpid()}-{threading.get_ident()}")
        proposal.write_text(str(tick))
        with contextlib.suppress(FileExistsError):
            os.link(proposal, self.path)
        proposal.unlink()
        return int(self.path.read_text())

    def read(self) -> int | None:
        return int(self.path.read_text()) if self.path.exists() else None
