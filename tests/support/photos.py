"""The photographs of the study that is loaded in one's own code."""

CLASSES, TRAIN, TEST = ("flower", "roof"), 30, 6  # images of each class
VIEWS = {
    "photos": {"view": "imagenet", "resolution": 48},
    "whole": {"view": "small", "resolution": 20, "interpolation": "bicubic"},
}
