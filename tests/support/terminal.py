"""A terminal that a process writes to, as a person would see it, and its Ctrl-C."""

import os
import signal
import struct


def open_terminal():
    """Both sides of a terminal. It has a size: else there is no room for the bar."""
    import fcntl
    import pty
    import termios

    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    return here, there


def read_terminal(master):
    """All that comes until the other side is closed."""
    parts = []
    try:
        while part := os.read(master, 4096):
            parts.append(part)
    except OSError:  # how Linux says that it is closed
        pass
    os.close(master)
    return b"".join(parts).decode()


def hear_ctrl_c():
    """For a new process: Ctrl-C is heard, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
