"""Recipes: YAML files of the same options as the command line, loaded by `--recipe NAME`."""
