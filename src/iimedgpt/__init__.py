"""IIMedGPT: from a hospital's own records to an aligned medical language model, with proof."""

__version__ = "0.1.0"
