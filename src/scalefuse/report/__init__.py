"""Pictures, tables and cards made from results."""
