"""Search spaces: YAML files of ranges and choices of options, loaded by `scripts/search.py --space NAME`."""
