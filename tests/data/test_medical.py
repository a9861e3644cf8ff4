import contextlib
import gzip
import itertools
import logging
import traceback
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from dmws_lite.data import medical
from dmws_lite.data.images import decode, frames

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

SECRETS = ("Doe^Jane", "ZQ-4711", "19421224", "Elm Street", "Dr^House")
RAMP = np.arange(64, dtype=np.int16).reshape(8, 8) * 40 - 1000
# A volume (right 8, anterior 6, superior 5) of which no two axes or ends look the same
BRAIN = (np.arange(8)[:, None, None] * 50 + np.arange(6)[:, None] * 7 + np.arange(5) * 400 + 3).astype(np.float32)


def item(kind=pydicom.Dataset, **tags):
    dataset = kind()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def dicom(pixels, tags=None):
    """The bytes of a DICOM file with the given pixels (H, W), (frames, H, W) or (H, W, 3), written by pydicom."""
    colour, bits = pixels.shape[-1] == 3, 8 * pixels.itemsize
    file = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.2.3.4", PixelData=pixels.tobytes())
    file.PatientName, file.PatientID, file.PatientBirthDate, file.PatientAddress, file.ReferringPhysicianName = SECRETS
    file.Rows, file.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        file.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, bits, bits - 1
    file.PixelRepresentation, file["PixelData"].VR = int(pixels.dtype.kind == "i"), "OW" if bits > 8 else "OB"
    file.update(item(**(tags or {})))
    file.file_meta = item(pydicom.dataset.FileMetaDataset, TransferSyntaxUID="1.2.840.10008.1.2.1")
    target = BytesIO()
    with warnings.catch_warnings(action="ignore"):
        pydicom.dcmwrite(target, file, enforce_file_format=True)
    return target.getvalue()


def show(data, size=8, **options):
    return decode(data, ".dcm", size, **options).image[0].astype(int)


def apply_window(values, low=None, high=None):
    """Gray values of a window, or of the smallest to the largest."""
    values = np.asarray(values, float)
    low, high = (values.min(), values.max()) if low is None else (low, high)
    return np.clip((values - low) / (high - low), 0, 1) * 255


def agree(values, expected):
    return np.abs(values - expected).max() <= 1


def sample(name):
    """The bytes of a file that pydicom brings along."""
    return Path(pydicom.data.get_testdata_file(name, download=False)).read_bytes()


def test_a_ct_file_of_a_scanner_agrees_with_its_bytes_read_by_hand():
    data = sample("CT_small.dcm")
    start = data.rindex(b"\xe0\x7f\x10\x00OW") + 12
    hounsfield = np.frombuffer(data, "<i2", 128 * 128, start).reshape(128, 128) - 1024
    decoded = decode(data, ".dcm", 128)
    assert agree(decoded.image[0], apply_window(hounsfield))
    assert (decoded.width, decoded.height, decoded.mode, decoded.depth, decoded.blank) == (128, 128, "gray", 16, False)
    assert decoded.patient == pydicom.dcmread(BytesIO(data)).PatientID == "1CT1"
    assert agree(show(data, 128, window=(-160, 240)), apply_window(hounsfield, -160, 240))


def test_a_deflated_file_is_read_and_a_bomb_refused(monkeypatch):
    assert show(sample("image_dfl.dcm"), 32).std() > 20
    monkeypatch.setattr(medical, "MAX_INFLATED", 10_000)
    with pytest.raises(ValueError, match="inflates to 10000 bytes or more"):
        show(sample("image_dfl.dcm"), 32)


def test_one_mr_picture_in_many_encodings():
    plain = show(sample("MR_small.dcm"), 64)
    for name in ("implicit", "bigendian", "expb", "padded", "RLE", "jp2klossless"):
        assert np.array_equal(show(sample(f"MR_small_{name}.dcm"), 64), plain) and plain.std() > 20


def test_colour_by_hand_in_8_and_16_bits():
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for pixels, depth in ((colour, 8), (colour.astype(np.uint16) * 257, 16)):
        decoded = decode(dicom(pixels), ".dcm", 8)
        assert np.array_equal(decoded.image, colour.transpose(2, 0, 1)) and decoded.depth == depth


def change(data, tag, kind, value):
    """The bytes of a DICOM file with another value."""
    file, target = pydicom.dcmread(BytesIO(data)), BytesIO()
    file.add_new(tag, kind, value)
    file.save_as(target)
    return target.getvalue()


def test_what_a_file_says_of_planes_is_not_believed_of_a_jpeg():
    data = sample("SC_rgb_jpeg_dcmtk.dcm")
    planes = change(data, "PlanarConfiguration", "US", 1)
    assert np.array_equal(decode(planes, ".dcm", 100).image, decode(data, ".dcm", 100).image)


@pytest.mark.parametrize("kind, least", [(np.uint32, 3e9), (np.int32, 2e9)])
def test_large_integers_keep_their_steps(kind, least):
    assert agree(show(dicom((RAMP + least).astype(kind))), apply_window(RAMP))


def test_slope_intercept_window_and_inversion_by_hand():
    slope = {"RescaleSlope": "2", "RescaleIntercept": "-100"}
    data, real = dicom(RAMP, slope), RAMP * 2.0 - 100
    assert agree(show(data), apply_window(real))
    assert agree(show(data, window=(-500, 500)), apply_window(real, -500, 500))
    own = dicom(RAMP, {"WindowCenter": ["40", "9"], "WindowWidth": ["400", "1"]} | slope)
    assert agree(show(own), apply_window(real, 39.5 - 199.5, 39.5 + 199.5))
    assert np.array_equal(show(own, window=(-500, 500)), show(data, window=(-500, 500)))
    assert agree(show(dicom(RAMP, {"PhotometricInterpretation": "MONOCHROME1"})), 255 - apply_window(RAMP))
    assert agree(show(dicom(RAMP, {"RescaleSlope": "", "RescaleIntercept": None})), apply_window(RAMP))
    narrow = {"RescaleSlope": "0.001", "RescaleIntercept": "0", "WindowCenter": "0.2", "WindowWidth": "0.8"}
    assert agree(show(dicom(RAMP, narrow)), apply_window(RAMP / 1000, -0.2, 0.6))


@pytest.mark.parametrize("model, end", [("MONOCHROME1", 255), ("MONOCHROME2", 0)])
@pytest.mark.parametrize("value", [-3024, 9000])
def test_padding_is_black_whatever_its_value_and_outside_the_window(model, end, value):
    padded = np.vstack([RAMP[:2] * 0 + value, RAMP[2:]])
    tags = {"PhotometricInterpretation": model, "PixelPaddingValue": value - 24, "PixelPaddingRangeLimit": value}
    data = dicom(padded, tags)
    unsigned = change(data, "PixelPaddingRangeLimit", "US", value % 2**16)  # as some write what is signed
    for shown in (show(data), show(change(unsigned, "PixelPaddingValue", "US", (value - 24) % 2**16))):
        assert agree(shown[2:], abs(end - apply_window(RAMP[2:]))) and not shown[:2].any()


@pytest.mark.parametrize("name", ["PixelSpacing", "PixelAspectRatio"])
def test_pixels_that_are_not_square_are_made_so(name):
    wide = decode(dicom(np.repeat(RAMP, 2, 1), {name: ["2", "1"]}), ".dcm", 8)
    assert (wide.width, wide.height) == (16, 16) and np.abs(wide.image[0] - apply_window(RAMP)).max() < 16
    fine = np.repeat(BRAIN, 2, 0)
    thick, thin = nifti(fine, np.diag([1.0, 2, 5, 1])), nifti(np.repeat(fine, 2, 1), np.eye(4))
    decoded, expected = (decode(data, ".nii", 16) for data in (thick, thin))
    assert decoded.height == expected.height == 12
    assert np.abs(decoded.image[0] - expected.image[0].astype(int)).max() < 9


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_own_windows_agree_with_pydicom(function):
    tags = {"WindowCenter": "300", "WindowWidth": "840", "VOILUTFunction": function}
    data = dicom(RAMP, tags | {"RescaleSlope": "1", "RescaleIntercept": "0"})
    expected = pydicom.pixels.apply_voi_lut(RAMP, pydicom.dcmread(BytesIO(data)))
    assert agree(show(data), apply_window(expected, -32768, 32767))


@pytest.mark.parametrize("bits", [8, 16])
def test_own_tables(bits):
    levels = np.linspace(0, 2**bits - 1, 500).round().astype(int)[::-1]
    table = item(LUTDescriptor=[500, 100, bits], LUTData=list(map(int, levels)))
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8) * 11
    real = levels[np.clip(stored.astype(int) - 100, 0, 499)]
    assert agree(show(dicom(stored, {"VOILUTSequence": [table]})), real / (2**bits - 1) * 255)
    assert agree(show(dicom(stored, {"ModalityLUTSequence": [table]}), window=(0, 200)), apply_window(real, 0, 200))
    packed = item(LUTDescriptor=[500, 100, bits], LUTData=levels.astype(f"<u{bits // 8}").tobytes())
    packed["LUTDescriptor"].VR, packed["LUTData"].VR = "US", "OW"
    assert agree(show(dicom(stored, {"VOILUTSequence": [packed]})), real / (2**bits - 1) * 255)
    table.LUTDescriptor = [500, 2**16 - 1024 + 100, bits]  # as some write what is signed
    tags = {"VOILUTSequence": [table], "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    assert agree(show(dicom(stored, tags)), real / (2**bits - 1) * 255)
    tags, indices = {"PhotometricInterpretation": "PALETTE COLOR"}, np.arange(64, dtype=np.uint8).reshape(8, 8)
    for colour in ("Red", "Green", "Blue"):  # of 8 bits, whatever the descriptor says
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [64, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = (indices * 4).astype("<u2").tobytes()
    assert agree(show(dicom(indices, tags)), indices * 4)


def test_frames_are_told_apart(tmp_path):
    stack = np.stack([RAMP, RAMP.T, RAMP[::-1]])
    (tmp_path / "three.dcm").write_bytes(data := dicom(stack))
    assert frames(tmp_path / "three.dcm") == 3
    assert all(np.array_equal(show(data, frame=k), show(dicom(stack[k]))) for k in range(3))
    with pytest.raises(ValueError, match="frame=3: the file holds 3 frames"):
        show(data, frame=3)


def test_enhanced_files_keep_slope_and_window_beside_each_frame():
    def groups(slope, centre):
        values, window = item(RescaleSlope=slope, RescaleIntercept="7"), item(WindowCenter=centre, WindowWidth="400")
        return item(PixelValueTransformationSequence=[values], FrameVOILUTSequence=[window])

    shared = {"SharedFunctionalGroupsSequence": [groups("2", "300")]}
    frame = {"PerFrameFunctionalGroupsSequence": [groups("1", "-300"), item()]}
    data = dicom(np.stack([RAMP, RAMP]), shared | frame)
    assert agree(show(data), apply_window(RAMP + 7.0, -500, -101))
    assert agree(show(data, frame=1), apply_window(RAMP * 2.0 + 7, 100, 499))


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: sample("test-SR.dcm"), "holds no picture"),
        (lambda: b"this is a text, and not a short one: " * 20, "not a DICOM file|no picture"),
        (lambda: sample("MR_truncated.dcm"), "damaged"),
        (lambda: dicom(RAMP, {"Rows": 60000, "Columns": 60000}), "60000 x 60000 pixels"),
        (lambda: dicom(RAMP, {"NumberOfFrames": "2000000000"}), "2000000000 frames"),
        (lambda: dicom(RAMP, {"BitsStored": 12}), "do not lie in its lowest bits"),
        (lambda: dicom(RAMP, {"PhotometricInterpretation": "CMYK"}), "colour model is not read"),
        (lambda: dicom(RAMP).replace(b"(\0\4\0CS", b"(\0\5\0CS"), "lacks its picture's size, bits or colour model"),
        (lambda: sample("MR_small_jpeg_ls_lossless.dcm"), 'no decoder is installed.*pip install "pylibjpeg.*libjpeg'),
    ],
)
def test_broken_and_absurd_dicom_files(tmp_path, make, text):
    (tmp_path / "file.dcm").write_bytes(data := make())
    with pytest.raises(ValueError, match=text):
        decode(data, ".dcm", 8)
    assert frames(tmp_path / "file.dcm") == 1


def broken_files():
    """A DICOM file with a patient in it, broken in many ways."""
    good = dicom(RAMP, {"WindowCenter": "100", "WindowWidth": "800"})
    yield from (good, good[132:], *(good[:length] for length in range(0, len(good), 29)))
    for name in ("PhotometricInterpretation", "SpecificCharacterSet", "WindowCenter", "NumberOfFrames", "RescaleSlope"):
        with contextlib.suppress(TypeError, ValueError):  # some pydicom refuses to write
            yield dicom(RAMP, {name: "Doe^Jane"})
    for syntax in (b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1.99"):
        yield good.replace(b"1.2.840.10008.1.2.1\0", syntax)
    rng = np.random.default_rng(0)
    for _ in range(250):
        damaged = bytearray(good)
        for place in rng.integers(132, len(good) - 128, 4):
            damaged[place] = rng.integers(256)
        yield bytes(damaged)


def test_nothing_that_identifies_a_patient_gets_out(caplog, capfd, recwarn, tmp_path, monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
    files = list(broken_files())
    warnings.simplefilter("always")
    caplog.set_level(logging.DEBUG)
    for spoken in (caplog, recwarn):  # by pydicom while it wrote the files
        spoken.clear()
    assert decode(files[0], ".dcm", 8).patient == "ZQ-4711"
    texts, refused = [], 0
    for data in files:
        (tmp_path / "file.dcm").write_bytes(data)
        frames(tmp_path / "file.dcm")
        try:
            texts.append(repr(decode(data, ".dcm", 8)))
        except ValueError as error:
            refused += 1
            texts.append("".join(traceback.format_exception(error)))  # with its causes
    assert 60 < refused < len(files) - 20
    everything = "\n".join([*texts, *(str(w.message) for w in recwarn.list), caplog.text, *capfd.readouterr()])
    assert not [secret for secret in (*SECRETS, "Jane", "House") if secret in everything]


def nifti(values, affine=None):
    """The bytes of a NIfTI file written by nibabel."""
    return nibabel.Nifti1Image(values, np.diag([2.0, 2, 3, 1]) if affine is None else affine).to_bytes()


def show_nifti(data, frame=0, window=(0, 2400)):
    return decode(data, ".nii", 8, "letterbox", frame, window).image[0].astype(int)


def axial(volume, k, low=0, high=2400):
    """By hand: rows from the front to the back, columns from the patient's right to the left, in a black square."""
    plane = np.array([[volume[i, j, k] for i in reversed(range(8))] for j in reversed(range(6))])
    return np.pad(apply_window(plane, low, high), ((1, 1), (0, 0)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([1, -1], repeat=3)))
def test_anterior_is_up_and_the_patients_left_on_the_right_however_a_volume_is_stored(order, flips, tmp_path):
    stored = BRAIN.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    affine, turn, tilt = np.eye(4), np.eye(4), np.deg2rad(12)
    affine[:3, :3] = np.eye(3)[:, order] * 2 * flips
    turn[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    for placed in (affine, turn @ affine):
        (tmp_path / "scan.nii").write_bytes(data := nifti(np.ascontiguousarray(stored), placed))
        assert frames(tmp_path / "scan.nii") == 5 and all(agree(show_nifti(data, k), axial(BRAIN, k)) for k in (0, 3))


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.int16, 16), (np.float64, 64)])
def test_number_types_and_containers(dtype, depth):
    values = (BRAIN / 10).astype(dtype)
    one, two = (kind(values, np.eye(4)) for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image))
    four = nibabel.Nifti1Image(np.stack([values, values + 9], -1), np.eye(4))
    big = nibabel.Nifti1Image(values, np.eye(4), one.header.as_byteswapped(">"))
    for data in (gzip.compress(one.to_bytes()), two.to_bytes(), four.to_bytes(), big.to_bytes()):
        assert agree(show_nifti(data, 2, (0, 240)), axial(values, 2, 0, 240)) and decode(data, ".nii", 8).depth == depth


def test_scaled_volumes_and_volumes_with_holes():
    data = bytearray(nifti(BRAIN.astype(np.int16)))
    data[112:120] = np.array([2, -500], "<f4").tobytes()  # scl_slope and scl_inter
    assert agree(show_nifti(bytes(data), 2), axial(BRAIN.astype(np.int16) * 2.0 - 500, 2))
    holes = BRAIN.copy()
    holes[2, 3, 1], holes[0, 0, 1], holes[5, 5, 1] = np.nan, np.inf, -np.inf
    low, high = np.percentile(holes[np.isfinite(holes)], (0.5, 99.5))
    expected = axial(np.nan_to_num(holes, nan=low, posinf=high, neginf=low), 1, low, high)
    assert agree(show_nifti(nifti(holes), 1, window=None), expected)
    assert decode(nifti(holes * np.nan), ".nii", 8).blank
    assert agree(show_nifti(nifti(BRAIN * 1e-12), 2, (0, 2400e-12)), axial(BRAIN, 2))


def test_broken_and_absurd_nifti_files(tmp_path):
    good, huge = nifti(BRAIN), bytearray(nifti(BRAIN))
    huge[42:48] = np.array([30_000] * 3, "<i2").tobytes()
    absurd = "30000 x 30000 x 30000, which is too much, or more than it can hold"
    colours = nifti(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    damaged = [b"text " * 200, good[:200], b"\x1f\x8b", gzip.compress(good)[:80], gzip.compress(good)[:-120]]
    for data, text in (
        *((data, "not a NIfTI file|damaged") for data in (*damaged, good[:-200])),
        (gzip.compress(bytes(huge)), absurd),
        (colours, "colours or complex numbers"),
        (nifti(np.zeros((4, 4, 4), np.complex64)), "colours or complex numbers"),
        (nifti(np.zeros((1, 64, 64), np.int16)), "are too thin: save those of its plane as PNG"),
    ):
        with pytest.raises(ValueError, match=text):
            decode(data, ".nii.gz", 8)
    for data in damaged[:4]:
        (tmp_path / "broken.nii").write_bytes(data)
        assert frames(tmp_path / "broken.nii") == 1
    with pytest.raises(ValueError, match="frame=5: the file holds 5"):
        decode(good, ".nii", 8, frame=5)
