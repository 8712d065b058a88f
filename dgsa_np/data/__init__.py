"""Data sets and corruptions."""

from .corruptions import CORRUPTIONS, corrupt
from .datasets import LOADERS, load
from .splits import DataError, Dataset, Split
from .text import Vocabulary

__all__ = [
    "CORRUPTIONS",
    "LOADERS",
    "DataError",
    "Dataset",
    "Split",
    "Vocabulary",
    "corrupt",
    "load",
]
