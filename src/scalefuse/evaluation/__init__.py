"""From predictions and references to per-case tables and summaries with honest intervals."""
