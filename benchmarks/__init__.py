"""How fast this project is, compared with the usual ways: one measurement a file, `python -m benchmarks` runs them."""
