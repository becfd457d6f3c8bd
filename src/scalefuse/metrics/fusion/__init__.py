"""Measures of fused images; every definition stands beside its number in :mod:`.table`."""
