"""Trained models for other runtimes: graphs, number types, and the proof that they still do the same."""
