"""Mixtures hold their weights as a function of (seed, epoch); groups go from the source to the batch."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small_study import ONE_CYCLE, write_study
from tests.support.stock_loader import read_by_ffcv
from timecat.cli import main
from timecat.config.data import DataConfig
from timecat.data.beton import read_beton
from timecat.data.datamodule import ImageData
from timecat.data.loader import BetonLoader
from timecat.data.mixture import Mixture, group_numbers
from timecat.data.write.write import write
from timecat.errors import UserError


def mixed(rooms: Path, digits: Path, **keys) -> ImageData:
    mixture = {"in": {"weight": 3, "groups": ["in"]}, "digits": {"weight": 1, "train": str(digits / "train.beton")}}
    keys = {"batch_size": 16, "num_classes": 12, "label_space": "side_by_side", "mixture": mixture, **keys}
    return ImageData(root=str(rooms), train="train.beton", view="small", resolution=28, **keys)


@pytest.mark.parametrize("seed", range(40))
def test_weights_hold_in_every_epoch_and_exactly_in_the_long_run(seed):
    rng = np.random.default_rng(seed)
    weights = [Fraction(float(weight)) for weight in rng.dirichlet(np.ones(rng.integers(1, 7)))]
    shares = tuple(weight / sum(weights) for weight in weights)
    mixture = Mixture(tuple("abcdef"[: len(shares)]), shares, tuple(np.arange(5) + 9 * k for k in range(len(shares))))
    images = int(rng.integers(1, 5000))
    counts = np.array([mixture.counts(seed, epoch, images) for epoch in range(50)])
    assert (counts.sum(1) == images).all()
    wanted = np.array([float(images * share) for share in shares])
    assert (np.abs(counts - wanted) < 1).all()
    assert (np.abs(counts.sum(0) - 50 * wanted) < 2).all()
    samples, _ = mixture.epoch(seed, 3, images)
    assert np.bincount(samples // 9, minlength=len(shares)).tolist() == counts[3].tolist()


def test_no_image_is_drawn_again_before_all_were(rooms, digits):
    """Also from one epoch to the next, and what is drawn again is seen anew."""
    data = mixed(rooms, digits, batch_size=64)
    loader = data.train_loader(5)
    seen: dict[int, list[bytes]] = {}
    for epoch in range(3):
        loader.set_epoch(epoch)
        for images, _, indices, groups in loader:
            for image, index in zip(images[groups == 0], indices[groups == 0].tolist(), strict=True):
                seen.setdefault(index, []).append(image.numpy().tobytes())
    counts = [len(views) for views in seen.values()]
    assert len(seen) == 40 and max(counts) - min(counts) <= 1 and min(counts) > 10
    assert all(len(set(views)) > len(views) / 3 for views in seen.values())  # of 162 views: 81 shifts, 2 flips


@pytest.mark.parametrize("stop", [1, 37, 64, 66, 131])
def test_a_mixture_goes_on_at_the_batch_and_ranks_share_it(rooms, digits, stop):
    def epochs(loader: BetonLoader, first: int, count: int) -> list[tuple[torch.Tensor, ...]]:
        batches = []
        for epoch in range(first, count):
            loader.set_epoch(epoch)
            batches += list(loader)
        return batches

    def loader(rank: int = 0, world: int = 1) -> BetonLoader:
        data = mixed(rooms, digits)
        indices, whole = data.split()[0], data.train_loader(7)
        options = {"view": data.train_view, "resolution": 28, "seed": 7, "shuffle": True, "drop_last": True}
        return BetonLoader(
            whole.beton, indices, mixture=whole.mixture, batch_size=16 // world, rank=rank, world=world, **options
        )

    undisturbed = epochs(loader(), 0, 3)
    first = loader()
    for epoch in range(3):
        first.set_epoch(epoch)
        for _ in first:
            if epoch * len(first) + first.batches_done == stop:
                state = first.state_dict()
    after = loader()
    after.load_state_dict(state)
    epoch = after.epoch
    resumed = list(after) + epochs(after, epoch + 1, 3)
    assert len(resumed) == len(undisturbed) - stop
    for one, other in zip(resumed, undisturbed[stop:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    ranks = [epochs(loader(rank, 2), 0, 1) for rank in (0, 1)]
    for batch, *shares in zip(undisturbed, *ranks, strict=False):
        assert torch.equal(batch[2], torch.cat([share[2] for share in shares]))


def test_labels_and_components_travel_with_the_batch(rooms, digits):
    data = mixed(rooms, digits, holdout=0.2)
    held = data.split()[1]
    assert data.group_names_of("val") == ("in", "digits")
    assert np.bincount(data.beton("train").groups[held] + 1).tolist()[1:] == [8, 199]  # a fifth of each class
    of_digits = read_beton(digits / "train.beton").labels
    before = 0 if digits < rooms else 60  # files lie in the order of their names
    seen = 0
    for _, labels, indices, components in data.val_dataloader():
        for label, index, component in zip(labels.tolist(), indices.tolist(), components.tolist(), strict=True):
            assert label == 2 + of_digits[index - before] if component == 1 else label < 2
            seen += 1
    assert seen == len(held)
    shared = mixed(rooms, digits, label_space="shared", num_classes=10)
    assert shared.beton("train").num_classes == 10


def test_a_members_validation_is_told_by_component(rooms, digits):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    mixture = {"in": {"weight": 1, "train": str(rooms / "train.beton"), "groups": ["in"]}, "digits": {"weight": 1}}
    data = {"root": str(digits), "mixture": mixture, "train": "train.beton"}
    config = write_study(
        rooms / "s.yaml",
        data,
        ONE_CYCLE,
        {"cat1": {"members": 1, "steps": 20}},
        {"val_check_interval": 20, "check_val_every_n_epoch": None},
    )
    assert main(["fit", config]) == 0
    events = EventAccumulator(str(rooms / "runs" / "s" / "member_0_20"))
    events.Reload()
    whole, *parts = (events.Scalars(f"val/acc1{name}")[-1].value for name in ("", "/in", "/digits"))
    assert whole == pytest.approx((8 * parts[0] + 199 * parts[1]) / 207)
    done = json.loads((rooms / "runs" / "s" / "member_0_20" / "done.json").read_text())
    assert done["metrics"]["val/acc1/digits"] == pytest.approx(parts[1])


def test_ffcvs_own_loader_reads_the_groups(rooms):
    pytest.importorskip("ffcv")
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder

    pipelines = {"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()], "group": [IntDecoder()]}
    ((_, labels, groups),) = read_by_ffcv(rooms / "train.beton", 60, pipelines=pipelines)
    labels, groups = labels.ravel(), groups.ravel()
    beton = read_beton(rooms / "train.beton")
    assert beton.groups is not None and beton.group_names == ("in", "out")
    assert (labels == beton.labels).all() and (groups == beton.groups).all()
    assert np.bincount(groups).tolist() == [40, 20] and np.bincount(labels[groups == 1]).tolist() == [10, 10]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_beside_the_images_gives_groups(rooms, tmp_path, kind):
    names = sorted(path.relative_to(rooms / "photos") for path in (rooms / "photos").rglob("*.png"))
    given = {str(name): "even" if int(name.stem) % 2 == 0 else "odd" for name in names}
    lines = "file,group\n" + "".join(f"{name},{group}\n" for name, group in given.items())
    (tmp_path / f"g.{kind}").write_text(json.dumps(given) if kind == "json" else lines)
    write(str(rooms / "photos"), tmp_path / "out", groups=str(tmp_path / f"g.{kind}"), progress=False)
    beton = read_beton(tmp_path / "out" / "train.beton")
    assert beton.group_names == ("even", "odd") and np.bincount(beton.groups).tolist() == [30, 30]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("cat/in/0.png,a\ncat/in/none.png,b\n", "names 1 unknown images, such as 'cat/in/none.png'"),
        ("cat/in/0.png,a\n", "has no group for 59 images, such as 'cat/in/1.png'"),
        ("cat/in/0.png,a\ncat/in/0.png,b\n", "has two groups"),
        ("one column\n", "is no list of files and their groups"),
    ],
)
def test_a_group_file_that_does_not_fit_is_told_in_a_line(rooms, tmp_path, capsys, lines, words):
    (tmp_path / "g.csv").write_text(lines)
    assert main(["write", str(rooms / "photos"), str(tmp_path / "out"), "--groups", str(tmp_path / "g.csv")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mixture": {}}, "names no component"),
        ({"mixture": {"a": {"weight": 0}}}, "data.mixture.a.weight is 0; it must be a number above 0"),
        ({"mixture": {"a": {"weight": float("inf")}}}, "data.mixture.a.weight is inf"),
        ({"mixture": {"a/b": {"weight": 1}}}, "a component of data.mixture is called 'a/b'"),
        ({"mixture": {"a": {"weight": 1}}, "subset": 5}, "data.subset contradicts data.mixture"),
        ({"mixture": {"a": {"weight": 1, "groups": ["attic"]}}}, "has no image of the group 'attic'; it has in, out"),
        ({"mixture": {"a": {"weight": 1}, "b": {"weight": 1, "groups": ["in"]}}}, "a and b have images of"),
    ],
)
def test_mixtures_that_make_no_sense_are_told(rooms, keys, words):
    with pytest.raises(UserError, match=words):
        ImageData(root=str(rooms), train="train.beton", **keys).split()


def test_groups_are_found_by_name_before_number():
    assert group_numbers(["out", 1, "1", 0, 7, "none"], ["1", "out", "in"]) == [1, 0, 0, 0, None, None]


def test_plan_tells_what_weights_mean_and_how_often_images_repeat(rooms, digits, capsys):
    mixture = {"in": {"weight": 9, "train": str(rooms / "train.beton"), "groups": ["in"]}, "digits": {"weight": 1}}
    data = {"root": str(digits), "mixture": mixture, "train": "train.beton"}
    config = write_study(rooms / "plan.yaml", data, ONE_CYCLE, {"cat1": {"members": 1, "steps": 20}})
    assert main(["plan", config]) == 0
    said = capsys.readouterr().out
    assert "weights 9, 1 add up to 10, and are taken as shares 0.9, 0.1" in said
    assert "component in: 0.9 of an epoch's 832 images, from 32: each is seen 23 times an epoch" in said


def test_recipes_of_mixtures_are_compared_by_meaning(rooms):
    from dataclasses import asdict

    from timecat.study.recipe import resolved_data

    def of(**mixture) -> dict:
        return resolved_data(DataConfig(train="train.beton", mixture=mixture))

    one = of(a={"weight": 1, "groups": ["in"]}, b={"weight": 3, "groups": ["out"]})
    assert one == of(a={"weight": 0.25, "groups": ["in"]}, b={"weight": 0.75, "groups": ["out"], "source": "photos"})
    assert one != of(b={"weight": 3, "groups": ["out"]}, a={"weight": 1, "groups": ["in"]})
    again = DataConfig(**asdict(DataConfig(train="t", mixture={"a": {"weight": 1}})))
    assert again.components["a"].weight == 1
