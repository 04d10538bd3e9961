"""Every kind of file a folder of pictures holds: read to the same small array, or refused."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modalities.image.reading import read, thumbnails
from modalities.image.reading.readers import BOMB, NEUTRAL

SIZE = 16


def save(image: Image.Image, format_: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format_, **options)
    file.seek(0)
    return file


def scene(width: int = 48, height: int = 48) -> Image.Image:
    """Smooth, with four corners that differ."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red, green = 255 * x / width, 255 * y / height
    blue = np.where((x < width / 2) & (y < height / 2), 200, 40)
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8))


def same(one: np.ndarray, other: np.ndarray, tolerance: int = 6) -> bool:
    return bool(np.abs(one.astype(int) - other.astype(int)).mean() < tolerance)


def png(width: int, height: int, data: bytes = b"", depth: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
        ("JPEG", {"quality": 95}),
        ("GIF", {}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("ICO", {"sizes": [(48, 48)]}),
        ("PCX", {}),
        ("DIB", {}),
    ],
)
def test_every_format_gives_the_same_picture(format_: str, options: dict[str, object]) -> None:
    found = read(save(scene(), format_, **options), size=SIZE)
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    assert same(found, read(save(scene(), "PNG"), size=SIZE))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_any_size_keeps_the_centre_of_a_flat_picture(width: int, height: int, size: int) -> None:
    found = read(save(Image.new("RGB", (width, height), (10, 200, 90)), "PNG"), size=size)
    assert found.shape == (size, size, 3)
    assert (found == (10, 200, 90)).all()


def test_the_shorter_side_is_scaled_and_the_centre_kept() -> None:
    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 0, 255), (100, 0, 200, 100))
    assert (read(save(wide, "PNG"), size=10) == (0, 0, 255)).all()


def test_scaling_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = read(save(Image.fromarray(board), "PNG"), size=8)
    assert abs(found.astype(int) - 127).max() <= 3


def test_transparency_shows_a_neutral_ground() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    half = Image.new("RGBA", (20, 20), (255, 255, 255, 128))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.info["transparency"] = 1
    grey = Image.new("LA", (20, 20), (0, 0))
    keyed = Image.new("RGB", (20, 20), (1, 2, 3))
    for image, options in [
        (clear, {}),
        (palette, {"transparency": 1}),
        (grey, {}),
        (keyed, {"transparency": (1, 2, 3)}),
    ]:
        assert (read(save(image, "PNG", **options), size=8) == NEUTRAL).all()
    assert (read(save(half, "PNG"), size=8) == 192).all()
    partial = save(palette, "PNG", transparency=bytes([255, 255]))  # a table of alphas, all opaque
    assert (read(partial, size=8) == (255, 0, 0)).all()
    assert (read(save(clear, "WEBP", lossless=True, exact=True), size=8) == NEUTRAL).all()


def test_grey_palette_one_bit_and_cmyk() -> None:
    assert (read(save(Image.new("L", (9, 9), 77), "PNG"), size=8) == 77).all()
    assert (read(save(Image.new("1", (9, 9), 1), "PNG"), size=8) == 255).all()
    palette = scene().quantize(256)
    assert palette.mode == "P"
    assert same(read(save(palette, "PNG"), size=SIZE), read(save(scene(), "PNG"), size=SIZE), 9)
    cmyk = scene().convert("CMYK")
    for file in (save(cmyk, "JPEG", quality=95), save(cmyk, "TIFF")):
        assert same(read(file, size=SIZE), read(save(scene(), "PNG"), size=SIZE))


def test_wide_values_are_scaled_to_eight_bits() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    expected = read(save(Image.fromarray((ramp / 257).astype(np.uint8)), "PNG"), size=SIZE)
    wide = Image.fromarray(ramp.astype(np.uint16))
    assert wide.mode.startswith("I;16")
    for file in (
        save(wide, "PNG"),
        save(wide, "TIFF"),
        save(Image.fromarray(ramp.astype(np.int32)), "TIFF"),
        save(Image.fromarray((ramp / 65535).astype(np.float32)), "TIFF"),
        save(Image.fromarray((ramp * 3 - 70000).astype(np.float32)), "TIFF"),
    ):
        assert same(read(file, size=SIZE), expected, 2)
    holes = np.full((16, 16), np.nan, np.float32)
    assert (read(save(Image.fromarray(holes), "TIFF"), size=8) == 0).all()
    full = Image.fromarray(np.full((8, 8), 65535, np.uint16))
    assert (read(save(full, "PNG"), size=8) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    stored = scene(60, 41)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if format_ == "TIFF" else {"quality": 95}
    turned = read(save(stored, format_, exif=exif, **options), size=SIZE)
    from PIL import ImageOps

    with Image.open(save(stored, "PNG", exif=exif)) as image:
        upright = ImageOps.exif_transpose(image)
        upright.info.pop("exif", None)
        expected = read(save(Image.fromarray(np.asarray(upright)), "PNG"), size=SIZE)
    assert same(turned, expected)


def test_broken_exif_does_not_cost_the_picture() -> None:
    file = save(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert same(read(file, size=SIZE), read(save(scene(), "PNG"), size=SIZE))


def test_of_animations_the_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "green", "blue")]
    for format_, options in [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]:
        file = save(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        assert (read(file, size=8) == (255, 0, 0)).all()


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "Ünïcode 図.png"
    path.write_bytes(save(scene(), "JPEG", quality=95).getvalue())
    assert same(read(path, size=SIZE), read(save(scene(), "PNG"), size=SIZE))


def test_colour_profiles_are_ignored() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = save(scene(), "PNG"), save(scene(), "PNG", icc_profile=profile)
    assert (read(plain, size=SIZE) == read(tagged, size=SIZE)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"dear diary,\n" * 50, "not an image: it is text"),
        ("Grüße".encode(), "not an image: it is text"),
        (bytes(range(256)), "not an image"),
        (b"%PDF-1.4\n\x00\x01\x02", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image: it is text"),
        (b"\x89PNG\r\n\x1a\n", "truncated or damaged"),
        (b"\xff\xd8\xff\xe0", "truncated or damaged"),
        (png(30000, 30000), "decompression bomb: claims 30000 x 30000 pixels"),
        (png(19000, 19000, zlib.compress(b"")), "decompression bomb: claims 19000 x 19000"),
        (png(2**31 - 1, 2**31 - 1), "decompression bomb"),
        (png(10, 10, b"no deflate stream"), "truncated or damaged"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read(path, size=SIZE)
    assert str(caught.value).startswith(reason)
    assert str(tmp_path) not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_half_a_file_is_refused(format_: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = save(Image.fromarray(noise), format_).getvalue()
    with pytest.raises(ValueError, match="truncated or damaged"):
        read(io.BytesIO(whole[: len(whole) // 2]), size=SIZE)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_never_escapes(data: st.DataObject) -> None:
    """Any damage gives a picture or a ValueError: no other exception, no warning."""
    format_ = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    content = bytearray(save(scene(20, 17), format_).getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        found = read(io.BytesIO(bytes(content[: len(content) - cut // 2])), size=8)
    except ValueError as error:
        assert str(error)
    else:
        assert found.shape == (8, 8, 3)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(ValueError, match="cannot be opened"):
            read(path, size=SIZE)


def test_pillow_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    read(save(scene(), "PNG"), size=SIZE)
    assert before == Image.MAX_IMAGE_PIXELS


def hundred_megapixels(path: Path) -> None:
    """12,000 x 8,400 pixels: left half red, right half blue, in a JPEG; noise keeps it honest."""
    noise = np.random.default_rng(0).integers(0, 40, (840, 1200, 3), dtype=np.uint8)
    noise[:, :600, 0] += 200
    noise[:, 600:, 2] += 200
    Image.fromarray(noise).resize((12000, 8400), Image.Resampling.NEAREST).save(path, "JPEG")


def test_a_hundred_megapixel_photograph_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    # in a process of its own: the memory it takes to make must not count
    maker = (
        "import pathlib, tests.modalities.image.reading.test_readers as t;"
        f"t.hundred_megapixels(pathlib.{path!r})"
    )
    root = Path(__file__).resolve().parents[4]
    subprocess.run([sys.executable, "-c", maker], check=True, cwd=root)
    code = (
        "import pathlib; from modalities.image.reading import read;"
        f"a = read(pathlib.{path!r}, size=32);"
        "status = pathlib.Path('/proc/self/status').read_text();"  # ru_maxrss survives exec
        "print(a[:, :14, 0].mean() > 200, a[:, 18:, 2].mean() > 200,"
        " int(status.split('VmHWM:')[1].split()[0]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True)
    left, right, megabytes = done.stdout.split()
    assert (left, right) == (b"True", b"True")
    assert int(megabytes) < 150  # 300 MB of pixels are never in memory


def test_large_pictures_of_every_mode_are_averaged_band_by_band() -> None:
    """The path for huge pictures agrees with the plain one."""
    for mode in ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16"):
        small = scene(2100, 2100)
        if mode == "I;16":
            grey = np.asarray(small.convert("L")).astype(np.uint16) * 257
            image = Image.fromarray(grey)
        else:
            image = small.quantize(64) if mode == "P" else small.convert(mode)
        file = save(image, "TIFF")
        expected = image if mode != "I;16" else small.convert("L")
        plain = np.asarray(expected.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX))
        assert same(read(file, size=SIZE), plain, 4), mode


def test_thumbnails_are_the_pictures() -> None:
    items = np.zeros((3, 8, 8, 3), np.uint8)
    assert thumbnails(items).shape == (3, 8, 8, 3)
    assert BOMB == 400_000_000


def test_reading_imports_no_torch() -> None:
    code = "import sys, modalities.image.reading; raise SystemExit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[4]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
