"""Applies TuneD's profile from a container before the kubelet starts.

`boot.py` tells the story from top to bottom; `cli.py` is the way in.
"""

__version__ = "0.1.0"
