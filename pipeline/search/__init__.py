"""Hyperparameter search: a space, trials that share a study, and the best of them as a recipe."""
