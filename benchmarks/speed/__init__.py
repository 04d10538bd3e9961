"""How fast it is: the parts of docs/BENCHMARKS.md."""
