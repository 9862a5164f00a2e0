"""How priors are made: from a folder of scans to weights with a card.

collection/        what is read: scans, found and looked at, and the pack of their slices
supply/            what the network is shown: batches of images, noise levels and noise, numbered and reproducible
learning/          what is trained: the step, and the run that repeats, saves, measures and exports it
run_settings.py    all settings of a run as one value and one YAML file, made of `sections.py` and `levels.py`
"""
