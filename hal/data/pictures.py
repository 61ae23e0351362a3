"""Decodes pictures: from a file's bytes to float32 in [0, 1], upright and in the size that a model wants."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hal.data.files import unreadable
from hal.errors import DataError, NotFoundError
from hal.util.reading import open_regular, read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUFFIXES", "decode", "decode_content", "grid_png", "has_color", "inspect"]

SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
"""Ends of the names of files that are taken for pictures."""

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may decode, by content: others of its formats start programs, such as Ghostscript for PostScript."""

# Pillow warns of large pictures and of odd tags; what matters of that is checked here, and is an error. The filter is
# set once, since one that is set around a call would be shared by all threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

_MOST_PIXELS = 40_000_000
"""Several threads decode at once, and each holds a few copies of up to 3 bytes a pixel."""

_LARGEST_BYTES = 256 << 20
"""40 million pixels of 3 channels of 16 bits, without compression, and room for what else a file holds."""


def decode(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture in a file, upright as its EXIF data says, resized without keeping its proportions.

    Args:
        path: the file.
        shape: (height, width, channels), 1 channel for gray or 3 for RGB.

    Returns:
        float32 of that shape, in [0, 1].

    Raises:
        DataError: it is damaged, of a format that is not read, or larger than 40 million pixels.
        NotFoundError: the file cannot be read.
    """
    with _opened(path, whole=True) as opened:
        return _pixels(opened, shape)


def decode_content(name: str, content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """As :func:`decode`, of bytes that lie in no file.

    Args:
        name: what to call them in an error.
        content: the bytes of a picture.
        shape: (height, width, channels).

    Raises:
        DataError: see :func:`decode`.
    """
    with _identified(name, io.BytesIO(content)) as opened:
        return _pixels(opened, shape)


def grid_png(images: np.ndarray, columns: int) -> bytes:
    """Images as tiles of one picture, row by row, in PNG.

    Args:
        images: (count, height, width, channels) in [0, 1]; of 1 to 4 channels.
        columns: tiles in a row; of the last row, those that are missing are black.
    """
    from PIL import Image

    count, height, width, channels = images.shape
    rows = -(-count // columns)
    tiles = np.zeros((rows * columns, height, width, channels), images.dtype)
    tiles[:count] = images
    tiles = tiles.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    whole = tiles.reshape(rows * height, columns * width, channels)
    pixels = (whole.clip(0, 1) * 255).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(content, format="PNG")
    return content.getvalue()


def _pixels(opened: Image, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image as Pillow
    from PIL import ImageOps

    mode = "L" if shape[2] == 1 else "RGB"
    if opened.width * opened.height > _MOST_PIXELS:
        opened.draft(mode, (shape[1], shape[0]))  # a JPEG can be decoded at a fraction of its size
        _check_size(opened)
    _check_mode(opened)
    form = opened.format
    ImageOps.exif_transpose(opened, in_place=True)
    image = _eight_bits(opened, mode, form)
    if image.size != (shape[1], shape[0]):
        image = image.resize((shape[1], shape[0]), Pillow.Resampling.BILINEAR)
    return np.asarray(image, np.float32).reshape(shape) / 255


def inspect(path: Path) -> None:
    """Read the beginning of a picture: its format and size, without its pixels.

    Raises:
        DataError: it is no picture that can be read.
        NotFoundError: the file cannot be read.
    """
    with _opened(path, whole=False) as opened:
        _check_mode(opened)
        if opened.width * opened.height > _MOST_PIXELS:
            opened.draft("L", (1, 1))
            _check_size(opened)


def has_color(path: Path) -> bool:
    """Whether the header of a picture says that it has color; false for one that cannot be read."""
    try:
        with _opened(path, whole=False) as opened:
            return opened.mode not in ("1", "L", "LA", "La", "F") and not opened.mode.startswith("I")
    except (DataError, NotFoundError):
        return False


@contextmanager
def _opened(path: Path, *, whole: bool) -> Iterator[Image]:
    """A picture whose header was read; ``whole`` reads the file at once, since it will be decoded."""
    with _file(path, whole=whole) as file, _identified(str(path), file) as opened:
        yield opened


@contextmanager
def _identified(name: str, file: BinaryIO) -> Iterator[Image]:
    """A picture whose header was read, and errors of its name for whatever is wrong with it."""
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as opened:
            yield opened
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        # What Pillow raises for a damaged file depends on the format; UnidentifiedImageError is an OSError.
        said = str(error).partition(" <_io")[0]  # Pillow names the buffer that it was given
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        found = f"{size} bytes, which begin with {file.read(8).hex() or 'nothing'}"
        raise DataError(
            f"{name} is not an image that can be decoded: {said}; the file has {found}",
            fix="replace or remove the file",
        ) from error


def _file(path: Path, *, whole: bool) -> BinaryIO:
    try:
        return io.BytesIO(read_regular(path, _LARGEST_BYTES)) if whole else open_regular(path, _LARGEST_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error


def _check_size(image: Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, but at most {_MOST_PIXELS // 1_000_000} million are allowed"
        )


def _check_mode(image: Image) -> None:
    """Refuse pixels whose range nobody knows."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; store 8 or 16 bits")


def _eight_bits(image: Image, mode: str, form: str | None) -> Image:
    """A picture of 8 bits a channel in mode ``L`` or ``RGB``."""
    from PIL import Image as Pillow

    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255 instead of scale
        pixels = np.asarray(image)
        low, high = pixels.min(), pixels.max()
        # What a TIFF has in 32 bits may be of 8 bits or 16, unless the values say which.
        if low < 0 or high > 65535 or (image.mode == "I" and form == "TIFF" and 0 < high <= 255):
            raise ValueError(f"integer pixels from {low} to {high} have no known range; store 8 or 16 bits")
        image = Pillow.fromarray((pixels >> 8).astype(np.uint8))
    elif image.mode == "LAB":
        image = image.convert("RGB")  # it does not become gray at once
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of a palette with transparency that becomes RGB at once
    return image if image.mode == mode else image.convert(mode)
