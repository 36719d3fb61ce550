"""Preference pairs: the model's own samples, and answers with one named clinical error."""
