"""Time-Cat: train N short members instead of one long one, concatenate their frozen features, probe.

Method: "These Are Not All the Features You Are Looking For" (arXiv 2506.18221).
"""

__version__ = "0.1.0"
