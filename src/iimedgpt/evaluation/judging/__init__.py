"""Pairwise judging: our models against others, on question sets, by several judges."""
