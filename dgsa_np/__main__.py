"""The command line as a process of its own: `python -m dgsa_np`, and the command dgsa-np."""

import atexit
import os
import signal
import sys

INTERRUPTED = []


def run() -> int:
    """main, and what only a process of its own may set: signals, its streams, Matplotlib."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the caller wants it ignored
    signal.signal(signal.SIGINT, _stop if heard else signal.SIG_IGN)
    os.environ["MPLBACKEND"] = "agg"  # pictures are files here, whatever a notebook or a desktop has said
    sys.stdout, sys.stderr = _stream(sys.stdout), _stream(sys.stderr)
    from .lab.cli import main

    try:
        for which in (signal.SIGINT, signal.SIGTERM) if heard else (signal.SIGTERM,):
            signal.signal(which, _interrupt)
        try:
            status = main()
        finally:  # after --help too
            sys.stdout.flush()
    except OSError as error:  # main tells its own: this is of what it prints
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)  # who reads it, such as head, has seen enough
        print("" if gone else f"dgsa-np: output: {error}\n", end="", file=sys.stderr)
        status = 128 + 13 if gone else 2
    except (KeyboardInterrupt, Exception):  # in a module that is being imported, it may become an ImportError
        if not INTERRUPTED:
            raise
        _stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python has only to end now
    if INTERRUPTED:  # in some imports; then Python would end as if it had been killed
        atexit._run_exitfuncs()
        os._exit(status)
    return status


def _stream(stream):
    """One that takes all that is printed: what a console lacks becomes a question mark."""
    stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the caller closed it
    stream.reconfigure(errors="replace")
    return stream


def _stop(*_):
    """Ends the process at once, in one line."""
    os.write(2, b"dgsa-np: stopped\n")
    os._exit(130)


def _interrupt(*_):
    INTERRUPTED.append(True)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(run())
