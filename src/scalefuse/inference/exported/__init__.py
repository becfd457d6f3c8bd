"""Exports of :mod:`scalefuse.export` as models: read, run, and given to the predictors like bundles."""
