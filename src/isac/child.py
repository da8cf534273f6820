"""A process beside the server's, which ends with it, whatever ends it."""

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

#: seconds between looks whether it lives, and before it is started anew: longer each time, while it ends at once
_LOOK, _PAUSE, _LONGEST = 0.2, 2.0, 60.0
#: seconds that it has when its input ends, and then after SIGTERM; SIGKILL is the last word
_GRACE, _HASTE = 30.0, 5.0


@contextlib.contextmanager
def beside(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A child for as long as the context lasts, started anew when it ends. It ends with its standard input, so also
    where we are killed.
    """
    over = threading.Event()

    def keep() -> None:
        pause = _PAUSE
        while not over.is_set():
            told: dict[str, object] = {"command": command[-2:]}
            began = time.monotonic()
            try:
                child = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
            except OSError as error:
                # No memory or no process to be had now: that passes.
                log.error("child cannot be started", extra=told | {"problem": str(error)})
                over.wait(pause)
                continue
            with child:
                while child.poll() is None and not over.wait(_LOOK):
                    pass
                _end(child)
            # Where its database is away it ends each time, and to start it costs a second of a core.
            pause = _PAUSE if time.monotonic() - began > _LONGEST else min(2 * pause, _LONGEST)
            if not over.wait(pause):
                log.warning("child ended", extra=told | {"code": child.returncode})

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin
    child.stdin.close()
    for seconds, push in ((_GRACE, child.terminate), (_HASTE, child.kill)):
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("child does not end", extra={"pid": child.pid, "next": push.__name__})
            push()


def end_with_input() -> None:
    """End, as SIGTERM ends us, when whoever started us closes our standard input or is no more."""

    def wait() -> None:
        # Not through Python's buffer, whose lock a thread would hold when the program ends.
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
