"""Evaluation on held-out patients: likelihood, task metrics, judge, controls."""
