import gzip
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dmws_lite.data.decoding import decode, frames, suffix_of

nibabel = pytest.importorskip("nibabel")


def windowed(values, low, high):
    return np.clip((np.asarray(values, float) - low) / (high - low), 0, 1) * 255


def nifti(values, affine=None, kind=None, **header):
    """The bytes of a NIfTI file written by nibabel."""
    image = (kind or nibabel.Nifti1Image)(values, np.diag([2.0, 2, 3, 1]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


def brain():
    """A volume (right 8, anterior 6, superior 5) of which no two axes or ends look the same."""
    return (np.arange(8)[:, None, None] * 50 + np.arange(6)[:, None] * 7 + np.arange(5) * 400 + 3.0).astype(np.float32)


def axial(volume, k):
    """By hand: rows from the front to the back, columns from the patient's right to the left."""
    x, y, _ = volume.shape
    return np.array([[volume[i, j, k] for i in reversed(range(x))] for j in reversed(range(y))])


def seen(data, frame=0, suffix=".nii", window=(0, 2400)):
    return decode(data, suffix, 8, "letterbox", frame, window).image[0].astype(int)


def boxed(plane, low=0, high=2400):
    rows, columns = plane.shape
    square = np.zeros((8, 8))
    top, left = (8 - rows) // 2, (8 - columns) // 2
    square[top : top + rows, left : left + columns] = windowed(plane, low, high)
    return square


def test_axial_slices_have_anterior_up_and_the_patients_left_on_the_right():
    for k in range(5):
        assert np.abs(seen(nifti(brain()), k) - boxed(axial(brain(), k))).max() <= 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([1, -1], repeat=3)))
def test_turned_and_flipped_volumes_give_the_same_picture(order, flips, tmp_path):
    stored = brain().transpose(order)
    stored = stored[tuple(slice(None, None, flip) for flip in flips)]
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * 2 * flips
    tilt = np.deg2rad(12)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    oblique = affine.copy()
    oblique[:3, :3] = turn @ affine[:3, :3]
    for placed in (affine, oblique):
        (tmp_path / "scan.nii").write_bytes(data := nifti(np.ascontiguousarray(stored), placed))
        assert frames(tmp_path / "scan.nii") == 5
        for k in (0, 3):
            assert np.abs(seen(data, k) - boxed(axial(brain(), k))).max() <= 1


@pytest.mark.parametrize(
    "name",
    ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "reoriented_anat_moved.nii"],
)
def test_files_that_nibabel_brings(name):
    path = Path(pytest.importorskip("nibabel.testing").data_path) / name
    if not path.exists():
        pytest.skip("nibabel's test files are not here")
    turned = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
    volume = turned[..., 0] if turned.ndim == 4 else turned
    assert frames(path) == volume.shape[2]
    low, high = np.percentile(volume, (0.5, 99.5))
    k = volume.shape[2] // 2
    plane = windowed(axial(volume, k), low, high)
    side = max(plane.shape)
    found = decode(path.read_bytes(), suffix_of(path), side, "letterbox", k)
    assert (found.height, found.width) == plane.shape
    top, left = (side - plane.shape[0]) // 2, (side - plane.shape[1]) // 2
    inside = found.image[0, top : top + plane.shape[0], left : left + plane.shape[1]]
    assert np.abs(inside - plane).max() <= 1


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.int16, 16), (np.float32, 32), (np.float64, 64)])
@pytest.mark.parametrize("form", ["plain", "gz", "nifti2", "big"])
def test_number_types_and_containers(dtype, depth, form):
    values = (brain() / 10).astype(dtype)
    kind = nibabel.Nifti2Image if form == "nifti2" else nibabel.Nifti1Image
    image = kind(values, np.eye(4))
    if form == "big":
        image = kind(values, np.eye(4), image.header.as_byteswapped(">"))
    data = gzip.compress(image.to_bytes()) if form == "gz" else image.to_bytes()
    found = decode(data, ".nii", 8, "letterbox", 2, (0, 240))
    assert np.abs(found.image[0] - boxed(axial(values, 2), 0, 240)).max() <= 1 and found.depth == depth


def test_scaled_volumes_are_shown_in_their_real_values():
    data = bytearray(nifti(brain().astype(np.int16)))
    data[112:120] = np.array([2, -500], "<f4").tobytes()  # scl_slope and scl_inter
    assert np.abs(seen(bytes(data), 2) - boxed(axial(brain().astype(np.int16) * 2.0 - 500, 2))).max() <= 1


def test_the_first_of_several_volumes_is_used():
    several = np.stack([brain(), brain() * 0, brain()[::-1]], axis=-1)
    assert np.array_equal(seen(nifti(several), 1), seen(nifti(brain()), 1))
    assert np.array_equal(seen(nifti(several[..., None]), 1), seen(nifti(brain()), 1))


def test_flat_files_are_one_slice():
    flat = brain()[:, :, 0]
    assert np.abs(seen(nifti(flat)) - boxed(axial(flat[..., None], 0))).max() <= 1


def test_volumes_with_holes():
    holes = brain()
    holes[2, 3, 1], holes[0, 0, 1], holes[5, 5, 1] = np.nan, np.inf, -np.inf
    known = holes[np.isfinite(holes)]
    expected = boxed(
        axial(np.nan_to_num(holes, nan=-1e9, posinf=1e9, neginf=-1e9), 1), *np.percentile(known, (0.5, 99.5))
    )
    found = seen(nifti(holes), 1, window=None)
    assert np.abs(found - expected).max() <= 1 and np.isnan(holes).sum() == 1
    assert decode(nifti(holes * np.nan), ".nii", 8).blank


def test_one_window_for_the_whole_volume():
    low, high = np.percentile(brain(), (0.5, 99.5))
    assert np.abs(seen(nifti(brain()), 4, window=None) - boxed(axial(brain(), 4), low, high)).max() <= 1
    sparse = np.zeros((20, 20, 20), np.float32)
    sparse[9, 9, 9] = 5
    assert decode(nifti(sparse), ".nii", 20, frame=9).image.max() == 255
    constant = decode(nifti(np.full((8, 8, 8), 70.0, np.float32)), ".nii", 8)
    assert constant.blank and not constant.image.any()


def test_volumes_that_are_not_gray():
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values in (colours, np.zeros((4, 4, 4), np.complex64)):
        with pytest.raises(ValueError, match="colours or complex numbers"):
            decode(nifti(values), ".nii", 8)


def test_broken_and_absurd_nifti_files(tmp_path):
    good = nifti(brain())
    packed = gzip.compress(np.random.default_rng(0).bytes(9) + good)
    for data in (b"text " * 200, good[:200], packed, b"\x1f\x8b", gzip.compress(good)[:80]):
        with pytest.raises(ValueError, match="not a NIfTI file|damaged"):
            decode(data, ".nii", 8)
        (tmp_path / "broken.nii").write_bytes(data)
        assert frames(tmp_path / "broken.nii") == 1
    for data in (
        good[:-200],
        gzip.compress(good[:-200]),
        gzip.compress(good)[:-120],
    ):
        with pytest.raises(ValueError, match="NIfTI"):
            decode(data, ".nii.gz", 8)
    with pytest.raises(ValueError, match="frame=5: the file holds 5"):
        decode(good, ".nii", 8, frame=5)
    huge = bytearray(good)
    huge[42:48] = np.array([30_000] * 3, "<i2").tobytes()
    with pytest.raises(ValueError, match="30000 x 30000 x 30000"):
        decode(gzip.compress(bytes(huge)), ".nii.gz", 8)
    huge[42:48] = np.array([800] * 3, "<i2").tobytes()
    with pytest.raises(ValueError, match="cannot hold the 800 x 800 x 800 voxels"):
        decode(gzip.compress(bytes(huge)), ".nii.gz", 8)
    late = bytearray(good)
    late[108:112] = np.array([1e9], "<f4").tobytes()
    with pytest.raises(ValueError, match="damaged"):
        decode(gzip.compress(bytes(late)), ".nii.gz", 8)


def test_damaged_nifti_files_raise_value_errors_alone():
    rng, good, refused = np.random.default_rng(0), nifti(brain()), 0
    for _ in range(150):
        broken = bytearray(good)
        for place in rng.integers(0, 348, 5):
            broken[place] = rng.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                decode(bytes(broken), ".nii", 8)
        except ValueError:
            refused += 1
    assert 10 < refused < 150


def test_many_threads_read_one_volume_the_same():
    data = gzip.compress(nifti(brain()))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: seen(bytes(bytearray(data)), k % 5), range(40)))
    assert all(np.abs(image - boxed(axial(brain(), k % 5))).max() <= 1 for k, image in enumerate(found))
