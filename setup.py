"""configs/ and launch/ go into the wheel as timecat/configs and timecat/launch; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["timecat*"]), "timecat.configs", "timecat.launch"],
    package_dir={"timecat.configs": "configs", "timecat.launch": "launch"},
    package_data={"timecat.configs": ["**/*.yaml"], "timecat.launch": ["*"]},
)
