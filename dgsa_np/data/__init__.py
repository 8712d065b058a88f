"""Data sets and corruptions."""

from .corruptions import CORRUPTIONS, corrupt
from .datasets import DataError, Dataset, Split, load

__all__ = ["CORRUPTIONS", "DataError", "Dataset", "Split", "corrupt", "load"]
