"""Measuring: cases to a per-case table to a summary with intervals."""
