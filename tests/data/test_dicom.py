import logging
import traceback
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data import dicom as reader
from dmws_lite.data.decoding import decode, frames

pydicom = pytest.importorskip("pydicom")

SECRETS = ("Doe^Jane", "ZQ-4711", "19421224", "Elm Street", "Dr^House")
RAMP = np.arange(64, dtype=np.int16).reshape(8, 8) * 40 - 1000


def dicom(pixels, tags=None, syntax="1.2.840.10008.1.2.1"):
    """The bytes of a DICOM file with the given pixels (H, W), (frames, H, W) or (H, W, 3), written by pydicom."""
    file = pydicom.Dataset()
    file.PatientName, file.PatientID, file.PatientBirthDate, file.PatientAddress, file.ReferringPhysicianName = SECRETS
    file.SOPClassUID, file.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    colour = pixels.shape[-1] == 3
    file.Rows, file.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        file.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    file["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    for name, value in (tags or {}).items():
        setattr(file, name, value)
    return written(file, syntax)


def written(file, syntax="1.2.840.10008.1.2.1"):
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    target = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(target, file, enforce_file_format=True)
    return target.getvalue()


def item(**tags):
    made = pydicom.Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def shown(data, size=8, **options):
    return decode(data, ".dcm", size, **options).image[0].astype(int)


def windowed(values, low, high):
    return np.clip((np.asarray(values, float) - low) / (high - low), 0, 1) * 255


def sample(name):
    """A file that pydicom brings along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not bring {name} along here")
    return Path(path)


def test_a_ct_file_of_a_scanner_agrees_with_its_bytes_read_by_hand():
    data = sample("CT_small.dcm").read_bytes()
    start = data.rindex(b"\xe0\x7f\x10\x00OW") + 12
    hounsfield = np.frombuffer(data, "<i2", 128 * 128, start).reshape(128, 128) - 1024
    found = decode(data, ".dcm", 128)
    assert np.abs(found.image[0] - windowed(hounsfield, hounsfield.min(), hounsfield.max())).max() <= 1
    assert (found.width, found.height, found.mode, found.depth, found.blank) == (128, 128, "gray", 16, False)
    assert found.patient == pydicom.dcmread(BytesIO(data)).PatientID == "1CT1"
    assert np.abs(shown(data, 128, window=(-160, 240)) - windowed(hounsfield, -160, 240)).max() <= 1


@pytest.mark.parametrize("name", ["implicit", "bigendian", "expb", "padded", "RLE", "jp2klossless"])
def test_one_mr_picture_in_many_encodings(name):
    plain = shown(sample("MR_small.dcm").read_bytes(), 64)
    assert np.array_equal(shown(sample(f"MR_small_{name}.dcm").read_bytes(), 64), plain)
    assert plain.std() > 20


@pytest.mark.parametrize(
    "name, tolerance",
    [
        ("SC_rgb_rle_16bit.dcm", 0),
        ("SC_rgb_rle_32bit.dcm", 0),
        ("SC_rgb_gdcm_KY.dcm", 0),
        ("SC_rgb_dcmtk_+eb+cr.dcm", 2),
        ("SC_rgb_jpeg_dcmtk.dcm", 6),
        ("SC_ybr_full_422_uncompressed.dcm", 6),
    ],
)
def test_one_colour_picture_in_many_encodings(name, tolerance):
    plain = decode(sample("SC_rgb_rle.dcm").read_bytes(), ".dcm", 100)
    found = decode(sample(name).read_bytes(), ".dcm", 100)
    assert found.mode == "colour" and found.image.shape == (3, 100, 100)
    assert np.abs(found.image.astype(int) - plain.image).max() <= tolerance


def test_colour_by_hand_in_8_and_16_bits():
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(decode(dicom(colour), ".dcm", 8).image, colour.transpose(2, 0, 1))
    deep = decode(dicom(colour.astype(np.uint16) * 257), ".dcm", 8)
    assert np.array_equal(deep.image, colour.transpose(2, 0, 1)) and deep.depth == 16


def test_a_palette_file_agrees_with_its_table():
    path = sample("examples_palette.dcm")
    file = pydicom.dcmread(path)
    tables = [np.frombuffer(file[f"{c}PaletteColorLookupTableData"].value, "<u2") for c in ("Red", "Green", "Blue")]
    stored = np.frombuffer(file.PixelData, np.uint8).reshape(file.Rows, file.Columns)
    bits = file.RedPaletteColorLookupTableDescriptor[2]
    if bits == 8:
        tables = [np.frombuffer(table.tobytes(), np.uint8) for table in tables]
    full = np.stack([table[stored] / (2**bits - 1) * 255 for table in tables], -1)
    expected = Image.fromarray(full.round().astype(np.uint8))
    left = (file.Columns - file.Rows) // 2
    expected = np.asarray(expected.crop((left, 0, left + file.Rows, file.Rows))).transpose(2, 0, 1)
    found = decode(path.read_bytes(), ".dcm", file.Rows)
    assert found.mode == "colour" and np.abs(found.image.astype(int) - expected).max() <= 1


def test_slope_intercept_and_window_by_hand():
    data = dicom(RAMP, {"RescaleSlope": "2", "RescaleIntercept": "-100"})
    real = RAMP * 2.0 - 100
    assert np.abs(shown(data) - windowed(real, real.min(), real.max())).max() <= 1
    assert np.abs(shown(data, window=(-500, 500)) - windowed(real, -500, 500)).max() <= 1
    own = dicom(
        RAMP,
        {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": ["40", "9"], "WindowWidth": ["400", "1"]},
    )
    assert np.abs(shown(own) - windowed(real, 39.5 - 199.5, 39.5 + 199.5)).max() <= 1
    assert np.array_equal(shown(own, window=(-500, 500)), shown(data, window=(-500, 500)))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_own_windows_agree_with_pydicom(function):
    values = np.arange(64, dtype=np.int16).reshape(8, 8)
    tags = {"WindowCenter": "30", "WindowWidth": "21", "VOILUTFunction": function}
    data = dicom(values, tags | {"RescaleSlope": "1", "RescaleIntercept": "0"})
    expected = pydicom.pixels.apply_voi_lut(values, pydicom.dcmread(BytesIO(data)))
    assert np.abs(shown(data) - windowed(expected, -32768, 32767)).max() <= 1


@pytest.mark.parametrize(
    "tags", [{"WindowCenter": "5"}, {"WindowCenter": "5", "WindowWidth": "0"}, {"WindowWidth": ""}]
)
def test_windows_that_make_no_sense_are_left_out(tags):
    assert np.array_equal(shown(dicom(RAMP, tags)), shown(dicom(RAMP)))


def test_monochrome1_is_inverted():
    tags = {"WindowCenter": "100", "WindowWidth": "800"}
    plain = shown(dicom(RAMP, tags))
    inverted = shown(dicom(RAMP, tags | {"PhotometricInterpretation": "MONOCHROME1"}))
    assert np.abs(inverted - (255 - plain)).max() <= 1 and plain.std() > 20


@pytest.mark.parametrize("bits", [8, 16])
def test_own_tables(bits):
    levels = np.linspace(0, 2**bits - 1, 500).round().astype(int)[::-1]
    table = item(LUTDescriptor=[500, 100, bits], LUTData=list(map(int, levels)))
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8) * 11
    expected = levels[np.clip(stored.astype(int) - 100, 0, 499)] / (2**bits - 1) * 255
    assert np.abs(shown(dicom(stored, {"VOILUTSequence": [table]})) - expected).max() <= 1
    modality = {"ModalityLUTSequence": [table]}
    real = levels[np.clip(stored.astype(int) - 100, 0, 499)]
    assert np.abs(shown(dicom(stored, modality), window=(0, 200)) - windowed(real, 0, 200)).max() <= 1


def test_frames_are_told_apart(tmp_path):
    stack = np.stack([RAMP, RAMP.T, RAMP[::-1]])
    (tmp_path / "three.dcm").write_bytes(data := dicom(stack))
    assert frames(tmp_path / "three.dcm") == 3
    for k in range(3):
        assert np.array_equal(shown(data, frame=k), shown(dicom(stack[k])))
    with pytest.raises(ValueError, match="frame=3: the file holds 3"):
        decode(data, ".dcm", 8, frame=3)


@pytest.mark.parametrize("name, count", [("rtdose.dcm", 15), ("rtdose_rle.dcm", 15), ("examples_ybr_color.dcm", 30)])
def test_multi_frame_files_that_pydicom_brings(name, count):
    path = sample(name)
    assert frames(path) == count
    first, last = (decode(path.read_bytes(), ".dcm", 10, frame=k).image for k in (0, count - 1))
    assert first.shape == last.shape and not np.array_equal(first, last)


def test_enhanced_files_keep_slope_and_window_beside_each_frame():
    def groups(slope, centre):
        values = item(RescaleSlope=slope, RescaleIntercept="7")
        return item(
            PixelValueTransformationSequence=[values],
            FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth="400")],
        )

    stack = np.stack([RAMP, RAMP])
    shared = {"SharedFunctionalGroupsSequence": [groups("2", "300")]}
    data = dicom(stack, shared | {"PerFrameFunctionalGroupsSequence": [groups("1", "-300"), item()]})
    assert np.abs(shown(data) - windowed(RAMP + 7.0, -500, -101)).max() <= 1
    assert np.abs(shown(data, frame=1) - windowed(RAMP * 2.0 + 7, 100, 499)).max() <= 1


def test_one_bit_and_wide_files_tell_their_depth():
    one = decode(sample("liver_1frame.dcm").read_bytes(), ".dcm", 512)
    assert one.depth == 1 and set(np.unique(one.image)) == {0, 255}
    assert decode(sample("rtdose_1frame.dcm").read_bytes(), ".dcm", 8).depth == 32
    assert decode(dicom(np.full((8, 8), 3, np.uint8)), ".dcm", 8).blank


def test_float_pixels():
    file = pydicom.dcmread(BytesIO(dicom(RAMP.astype(np.int32))))
    file.FloatPixelData = (RAMP / 7).astype("<f4").tobytes()
    del file.PixelData, file.BitsStored, file.HighBit, file.PixelRepresentation
    assert np.abs(shown(written(file)) - windowed(RAMP, RAMP.min(), RAMP.max())).max() <= 1


def test_deflated_files_and_their_bombs(monkeypatch, tmp_path):
    data = sample("image_dfl.dcm").read_bytes()
    assert decode(data, ".dcm", 32).image.std() > 20
    monkeypatch.setattr(reader, "MAX_INFLATED", 10_000)
    with pytest.raises(ValueError, match="inflates to 10000 bytes or more"):
        decode(data, ".dcm", 32)
    stack = written(pydicom.dcmread(BytesIO(dicom(np.zeros((3, 90, 90), np.int16)))), "1.2.840.10008.1.2.1.99")
    (tmp_path / "bomb.dcm").write_bytes(stack)
    assert frames(tmp_path / "bomb.dcm") == 1
    monkeypatch.setattr(reader, "MAX_INFLATED", 100_000)
    assert frames(tmp_path / "bomb.dcm") == 3
    start = 144 + int.from_bytes(data[140:144], "little")
    with pytest.raises(ValueError, match="deflated part is damaged"):
        decode(data[:start] + b"\xff" * 100, ".dcm", 32)
    assert len(zlib.decompress(data[start:], -15)) > 10_000


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"])
def test_a_missing_decoder_is_named(name):
    path = sample(name)
    if pydicom.pixels.get_decoder(pydicom.dcmread(path).file_meta.TransferSyntaxUID).is_available:
        pytest.skip("the decoder is installed here")
    with pytest.raises(ValueError, match='no decoder is installed.*pip install "pylibjpeg.*pylibjpeg-libjpeg'):
        decode(path.read_bytes(), ".dcm", 8)


@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "rtstruct.dcm"])
def test_files_without_a_picture(name):
    path = sample(name)
    with pytest.raises(ValueError, match="holds no picture"):
        decode(path.read_bytes(), ".dcm", 8)
    assert frames(path) == 1


def test_broken_and_absurd_dicom_files(tmp_path):
    with pytest.raises(ValueError, match="not a DICOM file|no picture"):
        decode(b"this is a text, and not a short one: " * 20, ".dcm", 8)
    with pytest.raises(ValueError, match="damaged"):
        decode(sample("MR_truncated.dcm").read_bytes(), ".dcm", 8)
    with pytest.raises(ValueError, match="60000 x 60000 pixels"):
        decode(dicom(RAMP, {"Rows": 60000, "Columns": 60000}), ".dcm", 8)
    (tmp_path / "many.dcm").write_bytes(data := dicom(RAMP, {"NumberOfFrames": "2000000000"}))
    with pytest.raises(ValueError, match="2000000000 frames"):
        decode(data, ".dcm", 8)
    assert frames(tmp_path / "many.dcm") == 1
    with pytest.raises(ValueError, match="colour model"):
        decode(dicom(RAMP, {"PhotometricInterpretation": "CMYK"}), ".dcm", 8)


def broken_files():
    """A DICOM file with a patient in it, broken in many ways."""
    good = dicom(RAMP, {"WindowCenter": "100", "WindowWidth": "800"})
    yield good
    yield from (good[:length] for length in range(0, len(good), 29))
    yield good[132:]
    wrong = [{"WindowCenter": "abc"}, {"BitsStored": 0}, {"BitsAllocated": 12}, {"Rows": 9}, {"SamplesPerPixel": 3}]
    wrong += [{"PatientID": "ZQ-4711" * 20}, {"NumberOfFrames": "x"}, {"PhotometricInterpretation": "Doe^Jane"}]
    wrong += [{"SpecificCharacterSet": "Doe^Jane"}, {"WindowWidth": "Doe^Jane"}, {"RescaleSlope": "19421224x"}]
    wrong += [{"PixelRepresentation": 7}, {"VOILUTSequence": [item(PatientName="Doe^Jane")]}, {"HighBit": 99}]
    for tags in wrong:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            patch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
            try:
                yield dicom(RAMP, tags)
            except (TypeError, ValueError):  # pydicom refuses to write it
                continue
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1.99"):
        yield good.replace(b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0"))
    rng = np.random.default_rng(0)
    for _ in range(250):
        damaged = bytearray(good)
        for place in rng.integers(132, len(good) - 128, 4):
            damaged[place] = rng.integers(256)
        yield bytes(damaged)


def test_nothing_that_identifies_a_patient_gets_out(caplog, capfd, recwarn, tmp_path):
    files = list(broken_files())
    warnings.simplefilter("always")
    caplog.set_level(logging.DEBUG)
    for spoken in (caplog, recwarn):  # by pydicom while it wrote the files
        spoken.clear()
    texts, fine, refused = [], 0, 0
    for k, data in enumerate(files):
        (tmp_path / "file.dcm").write_bytes(data)
        frames(tmp_path / "file.dcm")
        try:
            found = decode(data, ".dcm", 8)
        except ValueError as error:
            refused += 1
            texts.append("".join(traceback.format_exception(error)))
            while error is not None:
                texts.append(str(error))
                error = error.__cause__ or error.__context__
        else:
            fine += 1
            assert k or found.patient == "ZQ-4711"
            texts += [
                repr(found),
                *(str(getattr(found, name)) for name in ("mode", "width", "height", "depth", "blank")),
            ]
    assert fine > 20 and refused > 60
    texts += [str(warning.message) for warning in recwarn.list] + [caplog.text, *capfd.readouterr()]
    everything = "\n".join(texts)
    assert not [secret for secret in (*SECRETS, "Jane", "House") if secret in everything]


def test_only_tags_about_pixels_and_the_patient_id_are_read():
    parsed = reader._parsed(BytesIO(dicom(RAMP, {"RescaleSlope": "1"})))
    assert "PatientID" in parsed and "RescaleSlope" in parsed
    assert not [name for name in ("PatientName", "PatientBirthDate", "PatientAddress") if name in parsed]
    assert set(parsed.dir()) <= set(reader._TAGS) | {"SpecificCharacterSet"}


def test_pydicom_speaks_again_afterwards():
    level = logging.getLogger("pydicom").level
    decode(dicom(RAMP), ".dcm", 8)
    with pytest.raises(ValueError):
        decode(b"nothing", ".dcm", 8)
    assert logging.getLogger("pydicom").level == level
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)


def test_many_threads_read_dicom_the_same():
    stack = np.stack([np.roll(RAMP, k) for k in range(16)])
    data = dicom(stack)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: shown(data, frame=k), range(16)))
    assert all(np.array_equal(image, shown(dicom(stack[k]))) for k, image in enumerate(found))
