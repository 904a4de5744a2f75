"""Witnesses: one file an alternative to a change of path or source."""
