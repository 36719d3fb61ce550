"""``python -m iimedgpt``: what ``torchrun -m`` and ``accelerate launch -m`` start."""

from iimedgpt.cli import main

main()
