from dataclasses import replace

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.analysis.leaking import divide, exposures, families, leak_study, pooled, twins
from dmws_lite.views import figures

TINY = dm.Training(steps=2, batch_size=8, evaluations=1)


@pytest.fixture(scope="module")
def images():
    return dm.phantoms("chest_xray", train=18, val=3, test=3).train


@pytest.fixture(scope="module")
def photos(images):
    return exposures(images, 4)


def parts(splits):
    return splits.train, splits.val, splits.test


def test_exposures_keep_label_and_patient_and_resemble_only_their_original(images, photos):
    assert len(photos) == 4 * len(images)
    assert photos.labels.tolist() == np.repeat(images.labels, 4).tolist()
    assert all(len(set(photos.patients[i : i + 4])) == 1 for i in range(0, len(photos), 4))
    assert len(set(photos.patients)) == len(images) and len(set(photos.names)) == len(photos)
    flat = [s.images.reshape(len(s), -1).astype(float) for s in (images, photos)]
    closest = np.corrcoef(*flat)[len(images) :, : len(images)].argmax(axis=1)
    assert closest.tolist() == np.repeat(np.arange(len(images)), 4).tolist()


def test_every_exposure_differs_and_a_seed_repeats_them(images, photos):
    assert len(np.unique(photos.images, axis=0)) == len(photos)
    assert np.array_equal(exposures(images, 4).images, photos.images)
    assert not np.array_equal(exposures(images, 4, seed=1).images, photos.images)
    with pytest.raises(ValueError, match="count=0 exposures"):
        exposures(images, 0)


@pytest.mark.parametrize("by", ["image", "patient"])
def test_both_ways_divide_the_same_images_into_the_same_sizes(photos, by):
    splits = divide(photos, "photos", 0, by)
    assert sorted(name for part in parts(splits) for name in part.names) == sorted(photos.names)
    assert np.allclose([len(part) for part in parts(splits)], [36, 14.4, 21.6], atol=4)
    assert all(0 not in part.counts for part in parts(splits))


def test_only_the_split_by_image_puts_a_patient_on_two_sides(photos):
    apart = [set(part.patients) for part in parts(divide(photos, "photos", 0, "patient"))]
    assert len(set.union(*apart)) == sum(map(len, apart))
    mixed = [set(part.patients) for part in parts(divide(photos, "photos", 0, "image"))]
    assert len(set.union(*mixed)) < sum(map(len, mixed))
    with pytest.raises(ValueError, match="by='slice' is unknown: pass 'image' or 'patient'"):
        divide(photos, "photos", 0, "slice")


def test_where_patients_are_unknown_copies_stay_together(images):
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(images)), 3))
    names = tuple(f"{i}.png" for i in range(len(order)))
    copies = replace(images.take(order), names=names, patients=None)
    found = families(copies)
    assert len(set(found)) == len(set(zip(found, order.tolist(), strict=True))) == len(images)
    splits = divide(copies, "copies", 0, "patient")
    seen = [{image.tobytes() for image in part.images} for part in parts(splits)]
    assert len(set.union(*seen)) == sum(map(len, seen)) == len(images)


def test_twins_is_the_share_of_images_that_are_not_alone(images, photos):
    assert (twins(images), twins(photos)) == (0, 1)
    patients = ("a", "a", "b", "c", *("a" * 14))
    assert twins(replace(images, patients=patients)) == pytest.approx(16 / 18)


def test_pooled_holds_all_images_with_their_patients():
    splits = dm.open_data("phantom_lung_ct", size=16, progress=False)
    everything = pooled(splits)
    assert everything.names == splits.train.names + splits.val.names + splits.test.names
    assert everything.patients == everything.names
    assert np.array_equal(everything.take(np.arange(600, 750)).images, splits.val.images)
    assert pooled(replace(splits, val=replace(splits.val, patients=None))).patients is None


def test_the_study_pairs_seeds_and_counts_twins(photos):
    found = leak_study(photos, [0, 1], TINY, progress=False)
    assert found[["split", "seed"]].to_numpy().tolist() == [
        ["by image", 0],
        ["by patient", 0],
        ["by image", 1],
        ["by patient", 1],
    ]
    assert found["accuracy"].between(0, 1).all()
    for row in found.itertuples():
        splits = divide(photos, row.split, row.seed, row.split.removeprefix("by "))
        assert (row.train_images, row.test_images) == (len(splits.train), len(splits.test))
        twin = sum(patient in splits.train.patients for patient in splits.test.patients)
        assert row.test_images_with_a_twin == twin and (twin == 0) == (row.split == "by patient")
    again = leak_study(photos, [1], TINY, progress=False)
    assert again["accuracy"].tolist() == found["accuracy"].tolist()[2:]


def test_the_figure_joins_the_results_of_each_seed(photos):
    found = leak_study(photos, [0, 1], TINY, progress=False).assign(label=lambda table: table["split"])
    (axes,) = figures.comparison(found, paired=True).axes
    joined = {tuple(line.get_xdata()) for line in axes.lines if np.allclose(line.get_ydata(), [0.22, 1.22])}
    assert joined == {tuple(found.loc[found["seed"] == seed, "accuracy"]) for seed in (0, 1)}
