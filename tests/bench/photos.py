"""JPEG files as ImageNet has them, from the photographs in fixtures/pixels: parts of them, turned round, 500×375."""

import os
import random
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
SIZE = (500, 375)


def sources():
    """The photographs that are large enough."""
    photos = []
    for path in sorted((ROOT / "fixtures/pixels/photos").rglob("*.*")):
        image = Image.open(path).convert("RGB")
        if min(image.size) >= 150:
            photos.append(image)
    assert len(photos) >= 5, "fixtures/pixels/photos is not there"
    return photos


def write(folder, count, classes, distinct=512):
    """`count` files in `classes` class folders below `folder`; from `distinct` on they are links to the first ones."""
    photos, draw, first = sources(), random.Random(0), []
    for i in range(count):
        path = Path(folder) / f"class{i % classes:04}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i >= distinct:
            os.link(first[i % distinct], path)
            continue
        photo = photos[i % len(photos)]
        # A part of the shape that is wanted, at least six tenths of the largest.
        scale = draw.uniform(0.6, 1) * min(photo.width / SIZE[0], photo.height / SIZE[1])
        width, height = scale * SIZE[0], scale * SIZE[1]
        left, top = draw.uniform(0, photo.width - width), draw.uniform(0, photo.height - height)
        part = photo.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        if i // len(photos) % 2:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.save(path, quality=draw.randint(94, 98))
        first.append(path)


def megabytes(folder):
    """Of a file, on average."""
    sizes = [path.stat().st_size for path in Path(folder).rglob("*.jpg")]
    return sum(sizes) / len(sizes) / 1e6
