"""Scores: what a run writes about them and what a person sees of them."""
