"""Time-Cat: train N short members instead of one long one, concatenate their frozen features, probe.

Method: "These Are Not All the Features You Are Looking For" (arXiv 2506.18221).

The command `timecat` trains and probes; from Python

    load(study, cat)        a finished study's cat as a frozen module, with its transform
    features(cat, images)   features of image files, a directory of them, or arrays
    FrozenCat(files)        a cat of any ResNets' weights
    CatFeatures(study, cat) the same as a step of a scikit-learn pipeline
    UserError               what all of them raise where the input is at fault
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from timecat.errors import UserError

if TYPE_CHECKING:
    from timecat.inference.extract import features
    from timecat.inference.load import load
    from timecat.inference.sklearn_transformer import CatFeatures
    from timecat.networks.cat import FrozenCat

__version__ = "0.1.0"
__all__ = ["CatFeatures", "FrozenCat", "UserError", "__version__", "features", "load"]

_WHERE = {
    "CatFeatures": "timecat.inference.sklearn_transformer",
    "FrozenCat": "timecat.networks.cat",
    "features": "timecat.inference.extract",
    "load": "timecat.inference.load",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: torch takes seconds."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
