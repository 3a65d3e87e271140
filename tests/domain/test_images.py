from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from tidegauge.domain.images import MAX_PIXELS, decode_image, encode_png, to_shape
from tidegauge.errors import InvalidInputError, TooLargeError


def smooth(height: int = 60, width: int = 80, channels: int = 1) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, channels), np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def png(width: int, height: int, depth: int, colour_type: int, row: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * min(height, 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def with_exif(data: bytes, exif: bytes) -> bytes:
    body = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def orientation(value: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", value, 0, 0)


def test_png_survives_without_loss():
    grey, colour = smooth(), smooth(channels=3)
    assert np.array_equal(decode_image(encode_png(grey)), grey)
    assert np.array_equal(decode_image(encode_png(colour)), colour)
    assert np.array_equal(decode_image(encode_png(grey[:, :, np.newaxis])), grey)


def test_colours_come_as_red_green_blue():
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV writes blue first
    assert decode_image(cv2.imencode(".png", red)[1].tobytes())[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bits_are_scaled_to_eight():
    row = struct.pack(">HHHH", 0, 257, 32896, 65535)
    assert decode_image(png(4, 2, 16, 0, row))[0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("depth", "pixel"), [(8, [10, 20, 30, 0]), (16, [10, 10, 20, 20, 30, 30, 0, 0])])
def test_alpha_is_dropped(depth: int, pixel: list[int]):
    image = decode_image(png(4, 2, depth, 6, bytes(pixel * 4)))
    assert image.shape == (2, 4, 3)
    assert image[0, 0].tolist() == [10, 20, 30]


def test_grey_with_alpha_stays_grey():
    assert decode_image(png(4, 2, 8, 4, bytes([100, 0] * 4))).tolist() == [[100] * 4] * 2


def test_exif_orientation_is_applied():
    image = smooth()
    upright = decode_image(jpeg(image))
    turned = decode_image(with_exif(jpeg(image), orientation(6)))
    assert np.array_equal(turned, np.rot90(upright, -1))


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95, -1])
def test_a_cut_off_file_is_refused_by_name(kind: str, kept: float):
    data = cv2.imencode(kind, smooth())[1].tobytes()
    end = -1 if kept < 0 else int(len(data) * kept)
    with pytest.raises(InvalidInputError, match=r"^lung\.jpeg .*\.$"):
        decode_image(data[:end], "lung.jpeg")


def test_a_thumbnails_end_is_not_the_pictures_end():
    thumbnail = jpeg(smooth(8, 8))
    data = with_exif(jpeg(smooth()), orientation(1) + thumbnail)
    assert decode_image(data).shape == (60, 80)
    with pytest.raises(InvalidInputError, match="cut off"):
        decode_image(data[: len(thumbnail) + 700])


def test_a_progressive_jpeg_with_bytes_after_its_end_is_whole():
    data = cv2.imencode(".jpg", smooth(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert decode_image(data + bytes(10_000)).shape == (60, 80)
    with pytest.raises(InvalidInputError, match="cut off"):
        decode_image(data[: len(data) * 9 // 10])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(50)]
)
def test_what_is_no_picture_is_refused_by_name(data: bytes):
    with pytest.raises(InvalidInputError, match=r"^lung\.jpeg .*\.$") as caught:
        decode_image(data, "lung.jpeg")
    assert caught.value.errors[0].field == "lung.jpeg"


def test_a_small_file_cannot_unfold_to_gigabytes():
    with pytest.raises(TooLargeError, match="100 megapixels"):
        decode_image(png(MAX_PIXELS // 1000 + 1, 1000, 8, 0, bytes(10)))


@pytest.mark.parametrize("source", [(60, 80), (60, 80, 1), (60, 80, 3), (10, 10), (10, 300), (24, 24, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_to_shape_gives_the_shape(source: tuple[int, ...], channels: int):
    image = np.full(source, 77, np.uint8)
    shaped = to_shape(image, 24, 24, channels)
    assert shaped.shape == (24, 24, channels)
    assert shaped.dtype == np.uint8
    assert (shaped == 77).all()


def test_shrinking_averages_areas():
    image = np.array([[0, 100, 10, 10], [100, 200, 10, 10]], np.uint8)
    assert to_shape(image, 1, 2, 1).ravel().tolist() == [100, 10]


def test_a_side_that_shrinks_is_averaged_even_where_the_other_grows():
    stripes = np.tile(np.array([[0, 200]], np.uint8), (10, 200))  # finer than the target can show
    assert np.abs(to_shape(stripes, 20, 40, 1).astype(int) - 100).max() <= 1


def test_colour_becomes_grey_by_luminance():
    green = np.zeros((4, 4, 3), np.uint8)
    green[:, :, 1] = 255
    assert to_shape(green, 4, 4, 1)[0, 0, 0] == 150


def test_the_same_picture_in_any_container_has_the_same_pixels():
    image = smooth(300, 200)
    as_png = to_shape(decode_image(encode_png(image)), 50, 50, 1)
    as_jpeg = to_shape(decode_image(jpeg(image)), 50, 50, 1)
    assert np.abs(as_png.astype(int) - as_jpeg.astype(int)).max() <= 2
