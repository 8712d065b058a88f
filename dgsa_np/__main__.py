"""The command line as a process of its own: `python -m dgsa_np`, and the command dgsa-np."""

import os
import signal
import sys

INTERRUPTED = []


def run() -> int:
    """main, and what only a process of its own may set: signals, its streams, Matplotlib."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the caller wants it ignored
    signal.signal(signal.SIGINT, _stop if heard else signal.SIG_IGN)
    os.environ["MPLBACKEND"] = "agg"  # pictures are files here, whatever a notebook or a desktop has said
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    from .lab.cli import main

    try:
        for which in (signal.SIGINT, signal.SIGTERM) if heard else (signal.SIGTERM,):
            signal.signal(which, _interrupt)
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads it, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + 13
    except (KeyboardInterrupt, Exception):  # in a module that is being imported, it may become an ImportError
        if not INTERRUPTED:
            raise
        _stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python has only to end now
    return status


def _stop(*_):
    """Ctrl-C while nothing is at stake."""
    os.write(2, b"dgsa-np: stopped\n")
    os._exit(130)


def _interrupt(*_):
    INTERRUPTED.append(True)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(run())
