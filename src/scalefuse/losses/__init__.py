"""Losses that a paper defines and no library has, and differentiable measures of fused pictures."""
