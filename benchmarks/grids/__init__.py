"""Experiments on small pictures, a grid of short runs each: `python -m benchmarks.grids NAME`."""
