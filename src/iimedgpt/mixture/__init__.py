"""Mixture: record instructions and other data, split by patient (and disease), decontaminated."""

from iimedgpt.mixture.build import inputs, run

__all__ = ["inputs", "run"]
