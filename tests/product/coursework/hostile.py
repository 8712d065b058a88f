"""Submissions that do not play fair: {name: code}. NAME stands for the function that is asked for.

Each gets a verdict within 15 s, and no point.
"""

HOSTILE = {
    "endless loop": "def NAME(*args):\n    while True:\n        pass\n",
    "endless loop at import": "while True:\n    pass\n",
    "deep recursion": "def NAME(*args):\n    return NAME(*args)\n",
    "deeper recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef NAME(*args):\n    return NAME(*args)\n",
    "exit": "import sys\nsys.exit(0)\n",
    "hard exit": "import os\ndef NAME(*args):\n    os._exit(0)\n",
    "memory": "import numpy as np\ndef NAME(*args):\n    return np.ones(2**33)\n",
    "memory, bit by bit": "def NAME(*args):\n    held = []\n    while True:\n        held.append(bytearray(2**20))\n",
    "a long file": "def NAME(*args):\n    open('long', 'wb').write(bytes(2**30))\n",
    "patched NumPy": "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\n"
    "np.abs = np.absolute = lambda x: x * 0\n"
    "def NAME(*args):\n    return np.zeros(1)\n",
    "prints a pass": "print('{\"score\": 10}', flush=True)\nprint('10 of 10 points')\ndef NAME(*args):\n    return 0\n",
    "equals everything": "class Same(float):\n    __eq__ = __ge__ = lambda self, other: True\n    __hash__ = None\n"
    "    def __array__(self, *a, **k):\n        return self\ndef NAME(*args):\n    return Same(0)\n",
    "an array that equals everything": "import numpy as np\nclass Same(np.ndarray):\n"
    "    __eq__ = lambda self, other: np.ones(self.shape, bool)\ndef NAME(*args):\n    return np.zeros(3).view(Same)\n",
    "an object": "def NAME(*args):\n    return object()\n",
    "imports the library": "import dgsa_np\ndef NAME(*args):\n    return 0\n",
    "imports the library late": "def NAME(*args):\n    from dgsa_np.ops import softmax_forward\n"
    "    return softmax_forward(args[0])[0]\n",
    "looks for the library in memory": "import sys\ndef NAME(*args):\n"
    "    return sys.modules['dgsa_np.ops'].softmax_forward(*args)[0]\n",
    "looks for the key in memory": "import sys\ndef NAME(*args):\n"
    "    return [m for name, m in sys.modules.items() if 'keys' in name or 'judge' in name][0].items({})\n",
    "clears the import system": "import sys\nsys.meta_path[:] = [m for m in sys.meta_path]\ndef NAME(*args):\n"
    "    sys.path.insert(0, ROOT)\n    import keys\n    return 0\n",
    "reads the key": "def NAME(*args):\n    return len(open(KEY).read())\n",
    "reads the key by os": "import os\ndef NAME(*args):\n    return os.open(KEY, os.O_RDONLY)\n",
    "overwrites the key": "open(KEY, 'a').write('')\ndef NAME(*args):\n    return 0\n",
    "writes the result itself": "import glob\nfor path in glob.glob('*.npz') + ['results.json', 'item0.answer.npz']:\n"
    "    open(path, 'wb').write(b'10')\n"
    "def NAME(*args):\n    return 0\n",
    "forges an error without a text": "import json, os\nimport numpy as np\nfor i in range(20):\n"
    "    np.savez(f'item{i}.answer.npz', places=json.dumps({'dict': {'error': {'value': ''}}}))\nos._exit(0)\n",
    "forges an answer that is none": "import json, os\nimport numpy as np\nfor i in range(20):\n"
    "    np.savez(f'item{i}.answer.npz', places=json.dumps([]))\nos._exit(0)\n",
    "forges an answer of text": "import json, os\nimport numpy as np\nfor i in range(20):\n"
    "    np.savez(f'item{i}.answer.npz', places=json.dumps({'dict': {'answer': {'source': ['', '']}}}))\nos._exit(0)\n",
    "starts a process": "import os\ndef NAME(*args):\n    return os.system('true')\n",
    "forks": "import os\ndef NAME(*args):\n    while True:\n        os.fork()\n",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\ndef NAME(*args):\n    return 0\n",
    "calls home": "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)\ndef NAME(*args):\n    return 0\n",
    "catches everything": "import time\ndef NAME(*args):\n    while True:\n        try:\n            time.sleep(1)\n"
    "        except BaseException:\n            pass\n",
    "not Python": "this is not Python\n",
    "empty": "",
}
