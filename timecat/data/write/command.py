"""The command `timecat write`: its options and help."""

from collections.abc import Sequence
from pathlib import Path

from timecat.data.write.write import STORAGES, write
from timecat.parser import Parser

_DESCRIPTION = """\
Write a data set as .beton files, one a split: OUT/train.beton, OUT/test.beton,
..., and beside each a .json that tells what it was made from. A split that is
up to date is left as it is; one that was interrupted (Ctrl-C, a kill, a full
disk) goes on where it was when the same command runs again. The size is
estimated before anything is written.

SOURCE is one of
  DIRECTORY         a directory of images for each class; or train, val, test
                    (or valid, validation), each such
  fashion-mnist     Debian's package dataset-fashion-mnist
  digits            scikit-learn's 1,797 digits, 28x28
  dominoes          made of these two: a garment above a digit, a cue that goes
                    with the label in some groups; see docs/bottleneck.md
  inat2018:DIR      iNaturalist 2018: DIR/train2018.json, DIR/val2018.json and
                    the images that they list, below DIR
  waterbirds:DIR    Waterbirds, by its metadata.csv; celeba:DIR, by its lists of
                    attributes and parts; both with their groups
  torchvision:NAME  a classification data set of torchvision whose files lie in
                    --root (--download fetches them)
"""

_EPILOG = """\
--groups names a group for each image, kept in the .beton as a field beside the
label: a CSV file of lines FILE,GROUP or a JSON object {"FILE": "GROUP"}, FILE
from the source's directory as in train/cat/1.jpg; or folder:N, the N-th
directory below the class's: folder:1 of train/cat/indoor/1.jpg is indoor.
Mixtures weigh groups, and reports break down by them.

The smaller or the rawer the storage, the faster FFCV reads: raw bytes need no
decoding, and a JPEG's decoding grows with its pixels. Smaller storage changes
the data, though, so check the accuracy at the size you choose. At 64 pixels
and below store raw (auto does): JPEG's error there is 2 to 3 of 255. JPEGs
that need no change are kept byte for byte. A raw image takes width x height x
3 bytes. ImageNet-1k's 1,281,167 training images, were they all 4:3 and at
least that large: 500 x 375 x 3 x 1,281,167 = 721 GB at --max-side 500, 461 GB
at 400, 352 GB at 350, 189 GB at 256. Where that is too much and decoding every
image too slow, mixed lies in between: share x (size as JPEG) + (1 - share) x
(size as raw), for the sizes that a first line gives with --storage jpeg and
raw. FFCV's own ImageNet script takes 500, 400, 350, ... pixels, a share of 0.5
and quality 90.

examples:
  timecat write digits data/digits
  timecat write photos/ data/photos --test-fraction 0.2
  timecat write imagenet/ data/imagenet --max-side 256 --splits train,val
  timecat write imagenet/ data/imagenet --max-side 500 --storage mixed \\
      --jpeg-share 0.5
  timecat write inat2018:inat/ data/inat --max-side 256
  timecat write torchvision:CIFAR10 data/cifar10 --root downloads --download
"""


def main(argv: Sequence[str]) -> int:
    """The command `timecat write`; returns 0. Raises UserError on bad input."""
    parser = Parser(
        "timecat write",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="what to write, see above")
    add("out", metavar="OUT", type=Path, help="the directory that the files go to")
    add("--splits", metavar="A,B", help="write these splits only, of train, val and test")
    add(
        "--test-fraction",
        type=float,
        metavar="F",
        help="hold out this share of every class as the test split; copies of an image stay on one side",
    )
    add(
        "--split-by",
        metavar="WHICH",
        help="with --test-fraction: keep together what has one name here, such as a patient's images; as --groups",
    )
    add("--groups", metavar="WHICH", help="give each image a group: a CSV or JSON file, or folder:N; see below")
    add("--max-side", type=int, metavar="PIXELS", help="reduce the longest side to this (Lanczos); never enlarges")
    add("--storage", choices=STORAGES, default="auto", help="auto (default): raw up to 64 pixels, else jpeg; see below")
    add(
        "--jpeg-share",
        type=float,
        metavar="S",
        help="with --storage mixed: the share of images that is JPEG, the rest raw",
    )
    add("--quality", type=int, default=90, metavar="Q", help="of the JPEGs made here, 1 to 100 (default: 90)")
    add(
        "--background",
        default="white",
        metavar="C",
        help="what transparent images are laid on: white, black, R,G,B, ...",
    )
    add(
        "--skip-broken",
        action="store_true",
        help="leave broken and too large images out and list them, rather than stop",
    )
    add("--workers", type=int, metavar="N", help="threads (default: one a processor)")
    add("--root", type=Path, metavar="DIR", help="where torchvision's files lie")
    add("--download", action="store_true", help="let torchvision fetch what is missing in --root")
    options = vars(parser.parse_args(argv))
    if options["splits"] is not None:
        options["splits"] = [name.strip() for name in options["splits"].split(",")]
    write(options.pop("source"), options.pop("out"), **options)
    return 0
