import struct
import sys
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from dmws_lite.data.images import decode, frames

GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encode(array, form="PNG", **options):
    """An array as a file's bytes, written by Pillow."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def tiff(*pages, **options):
    """Arrays as the pages of a TIFF file's bytes, written by tifffile."""
    file = BytesIO()
    with tifffile.TiffWriter(file, byteorder=options.pop("byteorder", "<")) as writer:
        for page in pages:
            writer.write(page, **options)
    return file.getvalue()


def image(data, suffix=".png", size=8, **options):
    return decode(data, suffix, size, **options).image


def is_close(values, expected, most=1):
    return np.abs(np.asarray(values, float) - expected).max() <= most


def test_crop_keeps_the_middle_letterbox_keeps_everything_and_both_are_antialiased():
    wide, stripes = np.zeros((40, 120), np.uint8), np.zeros((128, 128), np.uint8)
    wide[:, 36:84], wide[:, :10], stripes[:, ::2] = 200, 90, 200
    assert (image(encode(wide), size=20) == 200).all()
    boxed = image(encode(wide), size=30, fit="letterbox")[0]
    assert not boxed[:10].any() and not boxed[20:].any() and not boxed[10:20, 24:].any()
    assert (boxed[10:20, 12:18] == 200).all() and (boxed[10:20, 0] == 90).all()
    assert np.array_equal(image(encode(wide.T.copy()), size=30, fit="letterbox")[0], boxed.T)
    assert is_close(image(encode(stripes), size=16)[0, 2:-2, 2:-2], 100, 2)
    assert is_close(decode(encode(stripes), ".png", 128).thumbnail[:, 2:-2], 100, 2)


def test_gray_colour_palette_alpha_and_one_bit_files():
    colour = np.dstack([GRAY, GRAY * 0 + 7, GRAY])
    alpha = np.full((8, 8, 4), 200, np.uint8)
    alpha[:2, :, 3], alpha[2:, :, 3] = 0, 255
    for form in ("PNG", "BMP", "TIFF"):
        for array in (GRAY, np.dstack([GRAY] * 3)):
            assert np.array_equal(image(encode(array, form)), GRAY[None])
        assert np.array_equal(image(encode(colour, form)), colour.transpose(2, 0, 1))
        if form != "BMP":
            assert np.array_equal(image(encode(alpha, form))[0], np.repeat([[0], [200]], [2, 6], 0) * np.ones(8))
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4, :, 0], halves[4:, :, 2] = 250, 90
    assert is_close(image(encode(Image.fromarray(halves).quantize(4))), halves.transpose(2, 0, 1), 8)
    assert set(np.unique(image(encode(np.eye(8, dtype=bool))))) == {0, 255}
    assert np.array_equal(image(encode(GRAY, transparency=252), ".dcm")[0], GRAY * (GRAY < 252))
    for steps in (1, 257):  # palettes of 8 and of 16 bits
        table = np.tile(np.arange(256, dtype=np.uint16) * steps, (3, 1))
        assert np.array_equal(image(tiff(GRAY, photometric="palette", colormap=table), ".tif")[0], GRAY)


@pytest.mark.parametrize("form, dtype", [("PNG", np.uint16), ("TIFF", np.float32)])
def test_deep_files_are_scaled_from_their_own_range_or_a_window(form, dtype):
    deep = (np.arange(64).reshape(8, 8) * 50 + 1000).astype(dtype)
    assert is_close(image(encode(deep, form))[0], (deep - 1000.0) / 3150 * 255)
    assert (image(encode(np.full((8, 8), 9, dtype), form)) == 0).all()
    assert is_close(image(encode(deep, form), window=(2000, 3000))[0], np.clip((deep - 2000.0) / 1000, 0, 1) * 255)


@pytest.mark.parametrize("form, suffix", [("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif")])
@pytest.mark.parametrize("orientation, turns", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation_tags_are_honoured(form, suffix, orientation, turns):
    picture, exif = np.zeros((32, 64), np.uint8), Image.Exif()
    picture[:16, :32], exif[0x0112] = 255, orientation
    decoded = decode(encode(picture, form, exif=exif), suffix, 16, "letterbox")
    expected = decode(encode(np.rot90(picture, turns).copy()), ".png", 16, "letterbox")
    assert is_close(decoded.image, expected.image, 11) and is_close(decoded.thumbnail, expected.thumbnail, 11)
    assert (decoded.width, decoded.height) == (expected.width, expected.height)


@pytest.mark.parametrize("kind", ["marked", "marked JPEG", "gray JPEG", "veiled", "opaque"])
def test_mode_and_thumbnail_do_not_depend_on_size_and_fit(kind):
    gray = np.repeat(np.add.outer(np.arange(300), np.arange(420))[..., None] % 200, 3, axis=2).astype(np.uint8)
    if kind.startswith("marked"):
        gray[5:45, 5:45] = (250, 30, 30)  # a mark that the middle square leaves out and small pictures blur away
    if alpha := {"veiled": 254, "opaque": 255}.get(kind):
        gray = np.dstack([gray, np.full((300, 420), alpha, np.uint8)])
    data = encode(gray, "JPEG" if kind.endswith("JPEG") else "PNG")
    decoded = [decode(data, ".png", size, fit) for size in (1, 16, 64, 299) for fit in ("crop", "letterbox")]
    assert {one.mode for one in decoded} == {"gray" if kind in ("gray JPEG", "opaque") else "colour"}
    assert all(np.array_equal(one.thumbnail, decoded[0].thumbnail) for one in decoded)
    shrunk = Image.fromarray(gray).convert("L").resize((32, 32), Image.Resampling.BOX)
    assert np.abs(decoded[0].thumbnail.astype(int) - np.asarray(shrunk)).mean() < 4


@pytest.mark.parametrize("byteorder, compression", [("<", "zlib"), (">", None)])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("code", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_gray_tiff_files_of_every_number_type(code, byteorder, compression, photometric):
    low, high = {"u": (0, 252), "i": (-120, 120), "f": (-9, 9)}[code[0]]
    values = np.linspace(low, {"u4": 3_000_000_000, "i2": 30_000}.get(code, high), 64).reshape(8, 8).astype(code)
    data = tiff(values, byteorder=byteorder, compression=compression, photometric=photometric)
    real = values.astype(float)
    expected = real if code == "u1" else (real - real.min()) / np.ptp(real) * 255
    decoded = decode(data, ".tif", 8)
    assert is_close(decoded.image[0], expected if photometric == "minisblack" else 255 - expected)
    assert (decoded.mode, decoded.depth, decoded.blank) == ("gray", int(code[1]) * 8, False)


@pytest.mark.parametrize("byteorder, compression", [("<", "zlib"), (">", None)])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float32])
def test_colour_tiff_files_of_many_number_types(dtype, planes, byteorder, compression):
    colour = np.dstack([GRAY, GRAY.T, GRAY[::-1]])
    steps = 2 ** (np.dtype(dtype).itemsize * 8 - 8) if np.dtype(dtype).kind == "u" else 1
    written = colour.astype(dtype) * dtype(steps)
    written = written.transpose(2, 0, 1) if planes == "separate" else written
    data = tiff(written, photometric="rgb", planarconfig=planes, byteorder=byteorder, compression=compression)
    expected = colour if np.dtype(dtype).kind == "u" else np.rint(colour / 252 * 255)
    assert is_close(image(data, ".tif"), expected.transpose(2, 0, 1))


def test_gray_tiff_files_with_transparency_are_laid_on_black():
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, :4] = 128
    on_black = (GRAY * (alpha / 255)).round().astype(np.uint8)
    for kind, gray in (("assocalpha", on_black), ("unassalpha", GRAY)):
        pair = np.dstack([gray, alpha])
        decoded = decode(tiff(pair, photometric="minisblack", planarconfig="contig", extrasamples=[kind]), ".tif", 8)
        assert is_close(decoded.image[0], on_black) and decoded.mode == "colour"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_compressions_that_tifffile_lacks_are_read_by_pillow(mode):
    colour = Image.fromarray(np.dstack([GRAY, GRAY.T, GRAY[::-1]]))
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode)
    picture = Image.fromarray(GRAY.astype(deep)) if deep else colour.convert(mode)
    lzw, plain = (image(encode(picture, "TIFF", compression=kind), ".tif") for kind in ("tiff_lzw", "raw"))
    assert np.array_equal(lzw, plain) and lzw.std() > 20
    if mode == "F":
        differences = encode(picture, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 3})
        assert np.array_equal(image(differences, ".tif"), plain)


@pytest.mark.parametrize("options", [{"subfiletype": 1}, {}, {"subfiletype": 1, "subifds": 1}])
def test_smaller_pages_are_never_taken(tmp_path, options):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GRAY[::2, ::2].copy(), photometric="minisblack", **options)
        file.write(GRAY, photometric="minisblack")
    assert frames(tmp_path / "a.tif") == 1
    assert np.array_equal(image((tmp_path / "a.tif").read_bytes(), ".tif"), GRAY[None])


def pack_tiff(rows, bits, order, photometric="minisblack", fill=1, **tags):
    """A TIFF file's bytes with integers of any number of bits: written as whole bytes, until its tags say otherwise."""
    steps = (rows[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    packed = np.packbits(steps.reshape(*rows.shape[:-1], -1), axis=-1, bitorder="big" if fill == 1 else "little")
    file = BytesIO(tiff(packed, photometric=photometric, byteorder=order))
    with tifffile.TiffFile(file) as written:
        for name, value in ({"ImageWidth": 9, "BitsPerSample": bits} | tags).items():
            written.pages[0].tags[name].overwrite(value)
    unit, fills = (struct.pack(f"{order}HHIHH", *tag, 0) for tag in ((296, 3, 1, 1), (266, 3, 1, fill)))
    return file.getvalue().replace(unit, fills)  # the resolution's unit makes place for the order of bits


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [4, 10, 12, 14])
def test_tiff_files_whose_numbers_are_no_whole_bytes(bits, order):
    values = np.arange(8 * 9).reshape(8, 9) * 37 % 2**bits
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    expected = values / (2**bits - 1) * 255
    colour = np.dstack([values, values[::-1], values[:, ::-1]])
    colours = (colour >> bits - 8 if bits > 8 else colour / (2**bits - 1) * 255).transpose(2, 0, 1)
    three = {"BitsPerSample": (bits,) * 3, "SamplesPerPixel": 3, "PhotometricInterpretation": 2}
    for rows, tags, shown in (
        (values, {}, expected),
        (values, {"fill": 2}, expected),
        (values, {"PhotometricInterpretation": 0}, 255 - expected),
        (colour.reshape(8, -1), three, colours),
        (colour.transpose(2, 0, 1), {"photometric": "rgb"} | three, colours),
    ):
        assert is_close(image(pack_tiff(rows, bits, order, **tags), ".tif", 9, fit="letterbox")[:, :8], shown)


CMYK = tiff(np.zeros((4, 8, 8)), photometric="separated", planarconfig="separate")
GRAY_16_ALPHA = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000080000000810040000003e96aa430000000049444154")
TRUE_KINDS = {  # the first bytes of a file that is named .png, what the error says
    b"\0\0\0\x18ftypheic": "a HEIC image, whatever its name says: save it as PNG",
    b"\0\0\0\x1cftypavif": "an AVIF image",
    b"\0\0\0\x0cjP  \r\n": "a JPEG 2000 image",
    bytes(128) + b"DICM": "a DICOM file, whatever its name says: name it .dcm",
    b"version https://git-lfs.github.com/spec/v1": "a pointer of Git LFS",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "a PostScript file",
    GRAY_16_ALPHA: "16-bit gray PNG files with transparency are not read: save it without transparency",
    CMYK: "the float64 planar CMYK TIFF is not read: save it as PNG",
    b"\xff\xd8\xff\xc3": "a JPEG that is damaged or of a rare kind .12 bits, lossless.",
    b"not an image": "not a PNG, JPEG, BMP or TIFF",
    b"": "not a PNG, JPEG, BMP or TIFF",
}


@pytest.mark.parametrize("data", TRUE_KINDS)
def test_files_whose_names_lie_are_told_by_their_true_kind(data):
    with pytest.raises(ValueError, match=TRUE_KINDS[data]):
        image(data + bytes(60))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_gif_and_webp_files_open_and_their_first_frame_is_said_to_be_taken(form):
    dark, light = (Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (40, 200))
    lossless = {"lossless": True} if form == "WEBP" else {}
    one, two = encode(dark, form, **lossless), encode(dark, form, save_all=True, append_images=[light], **lossless)
    decoded = image(one, f".{form.lower()}")
    assert is_close(decoded, 40)
    other = (one, ".bmp", " named .bmp") if form != "PNG" else (two, ".png", "")
    for data, suffix, named in ((two, f".{form.lower()}", ""), other):
        with pytest.warns(UserWarning, match=f"{form} files{named} are read, the first frame of each"):
            assert np.array_equal(image(data, suffix), decoded)


def test_float_tiff_files_with_holes():
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    expected, holes = (values + 1) / 2 * 255, values.copy()
    for place, hole, shown in (((0, 3), np.nan, 0), ((7, 0), np.inf, 255), ((2, 2), -np.inf, 0)):
        holes[place], expected[place] = hole, shown
    assert is_close(image(tiff(holes, photometric="minisblack"), ".tif")[0], expected)
    assert decode(tiff(np.full((8, 8), np.nan, np.float32)), ".tif", 8).blank


def test_pages_of_a_tiff_are_frames_and_other_files_have_one(tmp_path):
    pages = [np.full((8, 8 + k), 10 * k, np.uint8) for k in range(4)]
    (tmp_path / "stack.tiff").write_bytes(data := tiff(*pages, photometric="minisblack"))
    (tmp_path / "a.png").write_bytes(encode(GRAY))
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing")
    assert [frames(tmp_path / name) for name in ("stack.tiff", "a.png", "broken.tif", "gone.tif")] == [4, 1, 1, 1]
    for k in range(4):
        page = decode(data, ".tiff", 8, frame=k)
        assert (page.image == 10 * k).all() and page.width == 8 + k
    for file, suffix, count in ((data, ".tiff", 4), (encode(GRAY), ".png", 1)):
        with pytest.raises(ValueError, match=f"frame={count}: the file holds {count}"):
            decode(file, suffix, 8, frame=count)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
def test_cut_off_files_are_errors(form, share):
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(ValueError, match="damaged|truncated"):
        image(data[: int(len(data) * share)])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 14_000])
def test_pictures_too_large_for_memory_are_refused(side):
    with pytest.raises(ValueError, match="million"):
        image(encode(Image.new("1", (side, side))))


def test_missing_readers_are_named(monkeypatch):
    for package, suffix in (("pydicom", ".dcm"), ("nibabel", ".nii.gz")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"{package} is not installed.*pip install \"dmws-lite\[medical\]\""):
            decode(b"data", suffix, 8)
