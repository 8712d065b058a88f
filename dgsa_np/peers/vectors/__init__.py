"""Test vectors for ports of the mechanisms to any language: see docs/vectors.md."""
