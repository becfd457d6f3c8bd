"""Training: one Lightning module per task, and the one way they are fitted."""
