"""python -m dgsa_np"""

import sys

from .lab.cli import main

sys.exit(main())
