"""Submissions that do not play fair: {name: code}.

Each gets a verdict within 15 s and no point, changes nothing outside and leaves nothing running.
What tries something that must not be possible prints HOLE where it was. NAME stands for the
function that is asked for, KEY and SOLUTION for the paths of these files, ROOT for the folder of
the exercises, PIPE for the descriptor that answers go to.
"""

from textwrap import dedent, indent


def steal(code):
    """With the `text` of the solution it would have points."""
    return f"import os, sys\n{dedent(code)}\nexec(text)\n"


def attempt(code):
    told = "except BaseException as error:\n    print(repr(error))\nelse:\n    print('HOLE')"
    return f"import ctypes, os, sys\ntry:\n{indent(dedent(code), '    ')}\n{told}\n{function('return 0')}"


def function(body, before=""):
    modules = "import os, sys, time\nimport numpy as np"
    return f"{modules}\n{dedent(before)}\ndef NAME(*args):\n{indent(dedent(body), '    ')}\n"


def forge(line):
    """The same record for every item, and a process that ends before it is asked."""
    write = f"os.write(PIPE, {line!r}.replace(b'item', b'item%d' % i))"
    return f"import os\nfor i in range(20):\n    {write}\nos._exit(0)\n"


STEALS = {
    "open": "text = open(SOLUTION).read()",
    "open of os": "text = os.read(os.open(SOLUTION, os.O_RDONLY), 10**6)",
    "FileIO and a path object": """
        import io, pathlib
        text = io.FileIO(pathlib.Path(SOLUTION)).read()""",
    "open_code": """
        import io
        text = io.open_code(SOLUTION).read()""",
    "realpath that is replaced": """
        os.path.realpath = lambda path, **options: os.path.join(sys.prefix, 'lib', 'os.py')
        text = open(SOLUTION).read()""",
    "renaming": """
        os.rename(SOLUTION, 'mine.py')
        text = open('mine.py').read()""",
    "a link": """
        os.symlink(SOLUTION, 'mine.py')
        text = open('mine.py').read()""",
    "a hard link": """
        os.link(SOLUTION, 'mine.py')
        text = open('mine.py').read()""",
    "dir_fd": """
        folder = os.open(os.path.dirname(SOLUTION), os.O_RDONLY)
        text = os.read(os.open(os.path.basename(SOLUTION), os.O_RDONLY, dir_fd=folder), 10**6)""",
    "chdir": """
        os.chdir(os.path.dirname(SOLUTION))
        text = open(os.path.basename(SOLUTION)).read()""",
    "import": """
        sys.path.insert(0, os.path.dirname(SOLUTION))
        text = 'from ' + os.path.basename(SOLUTION)[:-3] + ' import *'""",
    "a hook rewritten through gc": """
        import gc, types
        for found in gc.get_objects():
            if isinstance(found, types.FunctionType) and found.__closure__:
                for cell in found.__closure__:
                    if isinstance(cell.cell_contents, (str, tuple)):
                        cell.cell_contents = '/' if isinstance(cell.cell_contents, str) else ('/',)
        text = open(SOLUTION).read()""",
    "linecache": """
        import linecache
        text = ''.join(linecache.getlines(SOLUTION)) or fail""",
    "NumPy": """
        import numpy as np
        text = bytes(np.fromfile(SOLUTION, np.uint8))""",
    "a memory map": """
        import numpy as np
        text = bytes(np.memmap(SOLUTION, mode='r'))""",
    "libc": """
        import ctypes
        libc, held = ctypes.CDLL(None), ctypes.create_string_buffer(10**6)
        size = libc.read(libc.open(SOLUTION.encode(), 0), held, 10**6)
        text = held.raw[:size] if size > 0 else fail""",
    "subprocess": """
        import subprocess
        text = subprocess.run(['/bin/cat', SOLUTION], capture_output=True, check=True).stdout""",
    "fork_exec": """
        import _posixsubprocess
        there, back = os.pipe()
        rest = (-1, -1, -1, back, -1, -1, *os.pipe(), False, False, -1, None, None, None, -1, None, False)
        _posixsubprocess.fork_exec([b'cat', SOLUTION.encode()], [b'/bin/cat'], True, (), None, None, *rest)
        text = os.read(there, 10**6)""",
    "spawnv_passfds": """
        from multiprocessing.util import spawnv_passfds
        there, back = os.pipe()
        spawnv_passfds(b'/bin/cp', [b'cp', SOLUTION.encode(), b'/dev/fd/%d' % back], [back])
        text = os.read(there, 10**6)""",
    "posix_spawn": """
        there, back = os.pipe()
        os.posix_spawn('/bin/cat', ['cat', SOLUTION], {}, file_actions=[(os.POSIX_SPAWN_DUP2, back, 1)])
        text = os.read(there, 10**6)""",
    "popen": "text = os.popen('cat ' + SOLUTION).read() or fail",
    "a descriptor that is open": """
        text = b''
        for folder in range(64):
            try:
                text = os.read(os.open('../' * 20 + SOLUTION[1:], os.O_RDONLY, dir_fd=folder), 10**6)
            except OSError:
                pass
        text = text or fail""",
    "the root of another process": """
        text = ''
        for pid in ('self', 'thread-self', 1, os.getppid(), *range(os.getpid() - 50, os.getpid())):
            for way in ('root', 'cwd/' + '../' * 20):
                try:
                    text = open(f'/proc/{pid}/{way}' + SOLUTION).read()
                except OSError:
                    pass
        text = text or fail""",
    "a way out of the root": """
        os.mkdir('out')
        os.chroot('out')
        text = open('../' * 20 + SOLUTION[1:]).read()""",
}

OPENED = """
def opened(path, how):
    try:
        return open(path, how)
    except OSError:
        return None
"""

ATTEMPTS = {
    "its answers, taken back": "os.open('/proc/self/fd/PIPE', os.O_RDONLY | os.O_NONBLOCK)",
    "reads the parent's memory": """
        parent = os.getppid()
        assert parent
        with open(f'/proc/{parent}/maps') as maps, open(f'/proc/{parent}/mem', 'rb') as memory:
            memory.seek(int(maps.readline().split('-')[0], 16))
            memory.read(1)""",
    "reads the parent's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "starts a process": "assert os.system('true') == 0",
    "becomes a process": "os.execv('/bin/true', ['true'])",
    "forks": "os.fork()",
    "forks by libc": "assert ctypes.CDLL(None).fork() >= 0",
    "starts a thread": "import threading; threading.Thread(target=print).start()",
    "starts a pool": "import multiprocessing; multiprocessing.Pool(2)",
    "leaves a process behind": """
        import time
        os.fork() or os.setsid()
        os.fork() or time.sleep(97531)""",
    "stops its parent": "os.kill(os.getppid(), 19)",
    "kills its parent": "os.kill(os.getppid(), 9)",
    "kills its parent's group": "os.killpg(os.getpgid(os.getppid()), 9)",
    "kills all": "os.kill(-1, 9)",
    "kills by a descriptor": "import signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
    "attaches to its parent": "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "changes its parent's limits": """
        import resource
        assert os.getppid()
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))""",
    "calls home": "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
    "calls home by UDP": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
    "has a socket": "import socket; socket.socket(socket.AF_UNIX)",
    "has two sockets": "import socket; socket.socketpair()",
    "calls by a ring": "assert ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)) >= 0",
    "becomes another user": "os.setuid(0 if os.getuid() else 1)",
    "asks for a namespace": "assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "raises its limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "outlives its parent": "assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0",
    "leaves memory behind": "assert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0",
    "leaves shared memory behind": """
        from multiprocessing import shared_memory
        shared_memory.SharedMemory(create=True, size=1)""",
    "writes a file": f"{OPENED}assert any(opened(parent + '/written', 'wb') for parent, *_ in os.walk('/'))",
    "changes a file": OPENED + dedent("""
        files = (os.path.join(parent, name) for parent, _, names in os.walk('/') for name in names)
        assert any(opened(path, 'ab') for path in files if not path.startswith('/proc/'))"""),
    "makes a folder": "os.mkdir('folder')",
    "makes a FIFO": "os.mkfifo('item0.answer.npz')",
    "overwrites the key": "open(KEY, 'a')",
    "removes the key": "os.remove(KEY)",
    "opens the key to all": "os.chmod(KEY, 0o777)",
    "lists the keys": "os.listdir(os.path.dirname(KEY))",
    "looks at the key": "os.stat(KEY)",
    "imports the keys": "sys.path.insert(0, ROOT); import keys",
    "imports the library": "import dgsa_np",
    "imports the library where it lies": """
        del sys.modules['dgsa_np']
        sys.path.insert(0, os.path.dirname(os.path.dirname(ROOT)))
        import dgsa_np""",
    "imports the grader": "sys.path.insert(0, ROOT); import grading.marks",
}  # fmt: skip

SLOW = {
    "endless loop": function("while True:\n    pass"),
    "endless loop at import": "while True:\n    pass\n",
    "catches everything": function("""
        while True:
            try:
                time.sleep(1)
            except BaseException:
                pass"""),
    "prints without end": function("while True:\n    print('x' * 10**6)"),
    "hangs at its end": function("return 0", "import atexit\natexit.register(time.sleep, 99)\nos._exit = id"),
    "hangs in an answer's class": function("return Slow()", """
        class Slow:
            def __array__(self, *args, **options):
                time.sleep(99)"""),
    "memory, bit by bit": function("held = []\nwhile True:\n    held.append(bytearray(2**20))"),
}  # fmt: skip

ENDS = {
    "exit": "import sys\nsys.exit(0)\n",
    "exit with the number of a signal": "import os\nos._exit(139)\n",
    "exit with the number of no signal": "import os\nos._exit(171)\n",
    "hard exit": function("os._exit(0)"),
    "crash": function("ctypes.string_at(0)", "import ctypes"),
    "deep recursion": function("return NAME(*args)"),
    "deeper recursion": function("return NAME(*args)", "sys.setrecursionlimit(10**9)"),
    "memory": function("return np.ones(2**33)"),
    "a long file": function("open('long', 'wb').write(bytes(2**30))"),
    "closes all that is open": "import os\nos.closerange(0, 64)\n" + function("return 0"),
    "not Python": "this is no Python\n",
    "empty": "",
}

TALKS = {
    "prints a pass": function("return 0", "print('{\"score\": 10}', flush=True)\nprint('10 of 10 points')"),
    "prints what a terminal obeys": function("return 0", "print('\\33[2J\\33]0;title\\7\\r10 of 10 points')"),
    "a long error": function("raise ValueError('x' * 10**8)"),
    "a long error at import": "raise ValueError('x' * 10**8)\n",
    "an error of a long name": function("raise type('x' * 10**7, (Exception,), {})"),
    "an error of lone surrogates": function("raise ValueError('\\udfff\\ud800' * 9)"),
    "an error that cannot be told": function("raise Silent", """
        class Silent(Exception):
            def __str__(self):
                raise self"""),
    "answers without end": "import os\nwhile True:\n    os.write(PIPE, b'x' * 10**6)\n",
    "lines without end": "import os\nwhile True:\n    os.write(PIPE, b'[0]\\n' * 10**5)\n",
    "forges an error without a text": forge(b'["item", "", false, []]\n'),
    "forges a long error": forge(b'["item", "%s", false, []]\n' % (b"x" * 65000)),
    "forges an answer that is none": forge(b'["item", null, true, []]\n'),
    "forges an answer of text": forge(b'["item", null, false, [["<U1", [1]]]]\nxxxx'),
    "forges an answer of objects": forge(b'["item", null, false, [["O", [1]]]]\nxxxxxxxx'),
    "forges an answer of dates": forge(b'["item", null, false, [["<M8[s]", [1]]]]\nxxxxxxxx'),
    "forges a size": forge(b'["item", null, false, [["<f8", [1000000000000]]]]\n'),
    "forges a size below zero": forge(b'["item", null, false, [["<f8", [-1, 2]]]]\nxxxxxxxx'),
    "forges many axes": forge(b'["item", null, false, [["<f8", [%s0]]]]\n' % (b"0, " * 99)),
    "forges many results": forge(b'["item", null, true, [%s["<f8", [0]]]]\n' % (b'["<f8", [0]], ' * 4000)),
    "forges many records": "import os\nwhile True:\n    os.write(PIPE, b'[\"item0\", \"\", false, []]\\n' * 10**5)\n",
    "forges depth": forge(b"[" * 60000 + b"\n"),
    "forges a name": forge(b'[["item"], null, false, [["<f8", [0]]]]\n'),
    "forges bytes": forge(bytes(range(256)) * 99),
}  # fmt: skip

ANSWERS = {
    "a million results": function("return (0.0,) * 10**6"),
    "no results": function("return ()"),
    "a large result": function("return np.zeros(2**25)"),
    "an object": function("return object()"),
    "a date": function("return np.zeros(3, 'M8[s]')"),
    "equals everything": function("return Same(0)", """
        class Same(float):
            __eq__ = __ge__ = lambda self, other: True
            __hash__ = None
            def __array__(self, *args, **options):
                return self"""),
    "an array that equals everything": function("return np.zeros(3).view(Same)", """
        class Same(np.ndarray):
            __eq__ = lambda self, other: np.ones(self.shape, bool)"""),
    "patched NumPy": function("return np.zeros(1)", """
        np.allclose = np.array_equal = lambda *args, **options: True
        np.abs = np.absolute = lambda x: x * 0"""),
    "the library, imported late": function("import dgsa_np.ops\nreturn dgsa_np.ops.softmax_forward(args[0])[0]"),
    "the library, in memory": function("return sys.modules['dgsa_np.ops'].softmax_forward(*args)[0]"),
    "the key, in memory": function("""
        keys = [module for name, module in sys.modules.items() if 'keys' in name or 'judge' in name]
        return keys[0].items({})"""),
    "the key, read": function("return len(open(KEY).read())"),
    "an answer in the frames above": function("""
        frame = sys._getframe()
        while frame := frame.f_back:
            for held in frame.f_locals.values():
                if isinstance(held, dict) and 'right' in held:
                    return held['right']"""),
}  # fmt: skip

HOSTILE = {
    **{f"the solution by {name}": steal(code) for name, code in STEALS.items()},
    **{name: attempt(code) for name, code in ATTEMPTS.items()},
    **SLOW, **ENDS, **TALKS, **ANSWERS,
}  # fmt: skip
