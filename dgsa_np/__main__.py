"""python -m dgsa_np"""

import sys

from .cli import main

sys.exit(main())
