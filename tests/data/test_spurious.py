"""Dominoes are what their groups say; Waterbirds and CelebA are read as they are published."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from timecat.cli import main
from timecat.data.beton import read_beton
from timecat.data.sources.open_source import open_source


def test_a_domino_is_its_garment_above_its_digit():
    garments, digits = open_source("fashion-mnist"), open_source("digits")
    train, val, test = open_source("dominoes")
    assert [np.bincount(split.groups).tolist() for split in (train, val, test)] == [[4000] * 4, [1000] * 4, [1000] * 4]
    assert train.group_names == ("Pullover above 0", "Pullover above 1", "Coat above 0", "Coat above 1")
    assert (train.groups // 2 == train.labels).all() and train.classes == ("Pullover", "Coat")

    def halves(split, i):
        image = np.asarray(split.item(i))[..., 0].astype(float)
        return image[:14], image[14:]

    def reduced(images, i):
        image = np.asarray(images.item(int(i)))[..., 0].astype(float)
        return (image[::2] + image[1::2]) / 2

    for split, above, below in ((train, garments[0], digits[0]), (test, garments[1], digits[1])):
        kept = np.flatnonzero(above.labels == 2 if split is train else np.isin(above.labels, (2, 4)))
        for place in (0, 1, 40, 41):
            garment, digit = halves(split, place)
            assert np.abs(garment - reduced(above, kept[place // 2])).max() <= 0.5
            of_cue = np.flatnonzero(below.labels == split.groups[place] % 2)
            assert min(np.abs(digit - reduced(below, k)).max() for k in of_cue) <= 0.5
    first = {garments[0].item(int(i)).tobytes() for i in np.flatnonzero(garments[0].labels == 2)[:4000]}
    assert garments[0].item(int(np.flatnonzero(garments[0].labels == 2)[4000])).tobytes() not in first


def image(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 24), (90, 120, 60)).save(path)
    return path.name


def test_waterbirds_and_celeba_are_read_as_published(tmp_path, capsys):
    birds, faces = tmp_path / "birds", tmp_path / "celeba"
    rows = [(y, place, split) for split in (0, 1, 2) for y in (0, 1) for place in (0, 1)]
    birds.mkdir()
    with (birds / "metadata.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["img_id", "img_filename", "y", "split", "place", "place_filename"])
        for k, (y, place, split) in enumerate(rows):
            image(birds / "001.Albatross" / f"{k}.jpg")
            table.writerow([k, f"001.Albatross/{k}.jpg", y, split, place, "/o/ocean/1.jpg"])
    lines, parts = ["12", "5_o_Clock_Shadow Blond_Hair Male"], []
    for k, (y, place, split) in enumerate(rows):
        name = image(faces / "img_align_celeba" / f"{k:06}.jpg")
        lines.append(f"{name} -1 {2 * y - 1:2} {2 * place - 1:2}")
        parts.append(f"{name} {split}")
    (faces / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (faces / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    for source, names in (
        (f"waterbirds:{birds}", ("landbird on land", "waterbird on water")),
        (f"celeba:{faces}", ("not blond woman", "blond man")),
    ):
        out = tmp_path / source[:5]
        assert main(["write", source, str(out)]) == 0
        for name in ("train", "val", "test"):
            beton = read_beton(out / f"{name}.beton")
            assert beton.labels.tolist() == [0, 0, 1, 1] and beton.groups.tolist() == [0, 1, 2, 3]
            assert (beton.group_names[0], beton.group_names[3]) == names
    (birds / "metadata.csv").write_text("img_id,img_filename,split\n1,x.jpg,0\n")
    capsys.readouterr()
    for source, words in (
        (f"waterbirds:{birds}", "its list is not laid out as published"),
        (f"waterbirds:{tmp_path}", "metadata.csv: cannot be read"),
        (f"celeba:{tmp_path}", "list_attr_celeba.txt: cannot be read"),
    ):
        assert main(["write", source, str(tmp_path / "none")]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["celeba", "waterbirds"])
def test_a_published_set_whose_images_are_not_there_is_told(tmp_path, capsys, name):
    (tmp_path / "metadata.csv").write_text("img_id,img_filename,y,split,place\n1,a/x.jpg,0,0,1\n")
    (tmp_path / "list_attr_celeba.csv").write_text("image_id,Blond_Hair,Male\nx.jpg,1,-1\n")
    (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\nx.jpg,0\n")
    assert main(["write", f"{name}:{tmp_path}", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"extract the data set's images to {tmp_path}" in said and said.count("\n") == 1
