"""A process shuts itself in: another user, another root, fewer system calls, little memory.

Only Linux has all of it. Where a part cannot be had, an exception says so, and nothing is run.
"""

import ctypes
import importlib
import os
import platform
import socket
import struct
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

MEBIBYTE = 2**20
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of CALLS, AUDIT_ARCH of the kernel
CALLS = {  # numbers on x86_64 and aarch64 of the system calls that are refused
    # to start something, or become something else
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, None), "vfork": (58, None), "execve": (59, 221),
    "execveat": (322, 281), "unshare": (272, 97), "setns": (308, 268), "prctl": (157, 167),
    # to reach other processes
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    # the network, and what calls without a system call
    "socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    # memory that outlives the process, or is not counted as its own
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "memfd_create": (319, 279),
}  # fmt: skip


def limit(mebibytes, seconds):
    """So much more memory than is in use now, so much processor time; no file, no other process."""
    if resource is None:
        return
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**30
    most = {"AS": used + mebibytes * MEBIBYTE, "CPU": seconds, "NPROC": 1, "NOFILE": 64, "FSIZE": 0, "CORE": 0}
    for name, value in most.items():
        with suppress(ValueError):  # macOS has limits that cannot be set
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def shut_in(root, user, hidden):
    """From here on only `root` can be seen, and nothing can be written, started, called, signalled.

    root, user : the new / and the new user; both None under bubblewrap, which has seen to that
    hidden     : folders that must not be readable

    Raises OSError where that cannot be had.
    """
    if root:
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    refuse_calls()
    importlib.invalidate_caches()
    look_for_holes(hidden)


def refuse_calls():
    """The kernel answers CALLS with EPERM, and kills the process should its parent die."""
    if platform.machine() not in MACHINES:
        raise OSError(f"system calls of {platform.machine()} are not known here, only of {', '.join(MACHINES)}")
    column, machine = MACHINES[platform.machine()]
    numbers = [numbers[column] for numbers in CALLS.values() if numbers[column] is not None]
    program = b"".join(struct.pack("HBBI", *line) for line in filter_of(machine, numbers))
    held = ctypes.create_string_buffer(program, len(program))
    prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    prctl(22, 2, struct.pack("HP", len(program) // 8, ctypes.addressof(held)))  # PR_SET_SECCOMP, a filter


def filter_of(machine, numbers) -> list:
    """A program for the kernel's packet filter: (code, jump if true, jump if false, number)."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    kill, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000
    return [
        (load, 0, 0, 4),  # the machine that the call is meant for
        (equal, 1, 0, machine),
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # the call's number
        (at_least, len(numbers) + 1, 0, 0x40000000),  # another table of numbers
        *((equal, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]


def prctl(option, value, pointer=None):
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(value), ctypes.c_char_p(pointer), ctypes.c_ulong(0), ctypes.c_ulong(0)]
    if libc.prctl(option, *arguments):
        raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def look_for_holes(hidden):
    """Try what a submission must not be able to do; raises PermissionError where it can be done."""
    attempts = {
        "the library can be imported": lambda: find_spec("dgsa_np"),
        "files can be written": lambda: os.open("written", os.O_CREAT | os.O_WRONLY),
        "processes can be started": lambda: os.fork() or os._exit(0),
        "others can be signalled": lambda: os.kill(os.getppid(), 0) is None,
        "the network is there": socket.socket,
        **{f"{folder} can be read": partial(os.listdir, folder) for folder in hidden},
    }
    for hole, attempt in attempts.items():
        if works(attempt):
            raise PermissionError(f"the wall has a hole: {hole}")


def works(attempt) -> bool:
    try:
        return bool(attempt())
    except OSError:
        return False
