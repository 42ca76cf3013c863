"""Callbacks for trainers: ``from swa_tools.integrations.lightning import SWASnapshots``, and so for huggingface,
fastai and keras.

Most trainers need none: a setting makes them keep checkpoints, which the commands average (docs/integrations.md). A
callback chooses the epochs by itself, and its ``finish`` does the rest in memory, with the trainer's own data.
"""
