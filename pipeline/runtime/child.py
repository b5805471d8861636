"""Another command, run as a child that signals reach, and that is waited for with all processes it has started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

import psutil

from pipeline.runtime.errors import UserError
from pipeline.runtime.launcher import terminate_with_parent
from pipeline.runtime.signals import SIGNALS

POLL_SECONDS = 0.1


class Child:
    """Runs commands one after the other, and passes on the signals that this process receives meanwhile.

    A command is in a session of its own. Of what is typed at the terminal it gets what is passed on, once: Ctrl-C goes
    to all its processes, as a terminal sends it, and other signals to the command alone, as `kill` does. Its end is
    that of the last process it has started: `accelerate launch` ends on SIGTERM before the script has written its
    checkpoint.

    Attributes:
        received: the first signal, if any. No command is started after it.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process: subprocess.Popen | None = None
        self._family: list[psutil.Process] = []
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a background job of a shell
                signal.signal(number, self._pass_on)

    def run(self, command: Sequence[str]) -> int:
        """Run a command to its end. Returns its exit code; 128 + the signal's number if a signal ended it.

        Raises:
            UserError: there is no such command.
        """
        if self.received:
            return 128 + self.received
        try:
            self._process = subprocess.Popen(command, start_new_session=True, preexec_fn=terminate_with_parent)
        except OSError as error:
            raise UserError(f"{command[0]} cannot be started: {error.strerror}.") from error
        if self.received:  # between the two
            self._pass_on(self.received, None)
        code = self._process.wait()
        while any(_is_alive(process) for process in self._family):
            time.sleep(POLL_SECONDS)
        self._process = None
        if self.received:
            return 128 + self.received
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if self._process is None:
            return
        with contextlib.suppress(psutil.Error, ProcessLookupError):  # it has ended
            self._family += psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGINT:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
