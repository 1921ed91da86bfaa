"""Which kernel decodes images, and why it is that one: by what is installed and loads, without numba and torch, which
take seconds; `decoding` imports it."""

import importlib.util
import os
from collections.abc import Iterator

from timecat.doctor.line import Line
from timecat.versions import KERNEL, ffcv_fails, version


def check() -> Iterator[Line]:
    what, named = "kernel", os.environ.get(KERNEL) or None
    if named not in (None, "ffcv", "cv2"):
        yield Line(what, f"{KERNEL}={named}: no such one", f"take ffcv or cv2, or unset {KERNEL}", broken=True)
        return
    fails = ffcv_fails()
    by_ffcv = f"ffcv {version('ffcv')} with numba {version('numba')}"
    if named == "ffcv" or (named is None and fails is None):
        why = f"{KERNEL} names it" if named else "it is installed and its library loads"
        mend = f"{fails}: make setup, or unset {KERNEL}" if fails else ""
        yield Line(what, f"{by_ffcv}: {why}", mend, broken=bool(fails))
        return
    lacking = [name for name in ("simplejpeg", "cv2") if importlib.util.find_spec(name) is None]
    if lacking:
        mend = f"make setup, or pip install {' '.join(lacking).replace('cv2', 'opencv-python-headless')}"
        yield Line(what, f"neither ffcv ({fails or 'not asked for'}) nor {', '.join(lacking)}", mend, broken=True)
        return
    cv2 = version("opencv-python-headless") or version("opencv-python")
    by_cv2 = f"simplejpeg {version('simplejpeg')} with cv2 {cv2}, which give ffcv's pixels"
    why = f"{KERNEL} names it" if named else f"ffcv {fails}"
    yield Line(what, f"{by_cv2}: {why}", "" if named else "for ffcv's own: make setup says what it lacks")
