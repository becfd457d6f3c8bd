"""Predictors: a trained network and everything around it, from picture to picture."""
