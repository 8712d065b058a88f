"""The laboratory: not needed to read attention."""
