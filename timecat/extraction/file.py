"""One member's features on disk: written shard by shard, and used only where they are what was asked for."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecat import files
from timecat.config.probe import BYTES, Storage
from timecat.errors import UserError
from timecat.study.directory import read_record, write_record

SHARD = 16384  # images; what a kill may cost
STORED_AS = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(np.uint16), "float32": np.dtype(np.float32)}


@dataclass(frozen=True)
class FeatureFile:
    """`<name>.npy` of shape (images, num_features), and `<name>.json` with what it is a function of.

    bfloat16, which numpy lacks, lies there as uint16. Until all shards are written the array is called
    `.<name>.npy.part`, with a line in `.<name>.shards` for each that is on the disk; several processes may write.

    Args:
        path: of the .npy.
        key: what the features are a function of, as JSON: hashes of weights and data, the view, the types.
        images, width: shape of the array.
        storage: type of the features.
        shard: images of one.
    """

    path: Path
    key: dict[str, Any]
    images: int
    width: int
    storage: Storage
    shard: int = SHARD

    @property
    def _json(self) -> Path:
        return _record_of(self.path)

    @property
    def _part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def _journal(self) -> Path:
        return self.path.with_name(f".{self.path.stem}.shards")

    @property
    def shards(self) -> int:
        return -(-self.images // self.shard)

    @property
    def bytes(self) -> int:
        return self.images * self.width * BYTES[self.storage]

    def rows(self, shard: int) -> slice:
        return slice(shard * self.shard, min((shard + 1) * self.shard, self.images))

    def is_complete(self) -> bool:
        """Whether the whole array lies there and was made of the same weights, data and view."""
        return (read_record(self._json, again=True) or {}).get("key") == self.key and self.path.exists()

    def _digests(self) -> dict[int, str]:
        """The shards that are on the disk, and their hashes."""
        if not self._part.exists() or not self._journal.exists():
            return {}
        head, *lines = self._journal.read_text().splitlines() or [""]
        if head != self._head():
            return {}
        entries = [line.split() for line in lines]
        return {int(words[0]): words[1] for words in entries if len(words) == 2 and len(words[1]) == 64}

    def _head(self) -> str:
        content = json.dumps([self.key, self.images, self.width, self.shard], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def missing(self) -> list[int]:
        """The shards that are still to be written."""
        done = self._digests()
        return [shard for shard in range(self.shards) if shard not in done]

    def begin(self) -> None:
        """Make room for the array, where it was not begun before.

        Raises:
            UserError: the disk is full.
        """
        if self._part.exists() and self._journal.exists() and self._journal.read_text().startswith(self._head()):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._journal.unlink(missing_ok=True)
        shape = (self.images, self.width)
        try:
            array = np.lib.format.open_memmap(self._part, mode="w+", dtype=STORED_AS[self.storage], shape=shape)
            size = array.offset + array.nbytes
            del array
            file = os.open(self._part, os.O_RDWR)
            try:
                os.posix_fallocate(file, 0, size)  # now, not as a bus error in the middle
            finally:
                os.close(file)
            files.write_bytes(self._journal, f"{self._head()}\n".encode())
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise self._full(error) from None

    def write(self, shard: int, features: Tensor) -> None:
        """Put one shard on the disk: features (rows, width) of the stored type, on the CPU.

        Raises:
            UserError: the disk is full.
        """
        rows = self.rows(shard)
        assert features.shape == (rows.stop - rows.start, self.width)
        content = features.contiguous().view(torch.uint8).numpy().reshape(-1).data
        start = np.load(self._part, mmap_mode="r").offset + rows.start * self.width * BYTES[self.storage]
        line = f"{shard} {hashlib.sha256(content).hexdigest()}\n".encode()
        try:
            with self._part.open("r+b") as file:
                file.seek(start)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            journal = os.open(self._journal, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(journal, line)
            finally:
                os.close(journal)
        except OSError as error:
            raise self._full(error) from None

    def _full(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: {error.strerror} ({self.bytes / 1e9:.2g} GB are needed); make room and go on with the same "
            "command, or choose another study.root or probe.storage"
        )

    def finish(self) -> None:
        """Give the array its name, once no shard is missing."""
        digests = self._digests()
        self.path.unlink(missing_ok=True)  # an older one, of other weights, data or view
        shards = [digests[shard] for shard in range(self.shards)]
        write_record(self._json, {"key": self.key, "shard": self.shard, "sha256": shards})
        self._part.rename(self.path)
        self._journal.unlink()

    def load(self) -> Tensor:
        """The features, memory-mapped.

        Raises:
            UserError: the file is not what was written.
        """
        array = check_shards(self.path)
        if array.shape != (self.images, self.width) or array.dtype != STORED_AS[self.storage]:
            raise _damaged(self.path)
        features = torch.from_numpy(array)
        return features.view(torch.bfloat16) if self.storage == "bfloat16" else features


def check_shards(path: Path) -> np.ndarray:
    """A finished array, memory-mapped, after its hashes were looked at.

    Raises:
        UserError: the file is not what was written.
    """
    record = read_record(_record_of(path))
    try:
        files.check_regular(path)
        array = np.load(path, mmap_mode="c")  # so torch need not warn that it could write
    except (OSError, ValueError, EOFError):
        raise _damaged(path) from None
    if record is None:
        raise _damaged(path)
    size = record["shard"]
    if [hashlib.sha256(array[i : i + size].data).hexdigest() for i in range(0, len(array), size)] != record["sha256"]:
        raise _damaged(path)
    return array


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: is not what was written there; remove it and run the same command again")
