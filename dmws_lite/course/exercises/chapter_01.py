"""Checks of chapter 01, meet the data."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from dmws_lite.course.answers import Wrong, array, called, compared
from dmws_lite.data.sets import ImageSet

TESTED, EXPOSURES, ACCURACY = 18, 8, 0.7  # of exercise 4: patients in the test, images of each, and what was right


def exercise_1(balanced: Any) -> str:
    """Balanced accuracy, as a function of the true and the named classes."""
    rng = np.random.default_rng(0)
    uneven = rng.choice([0, 0, 0, 0, 1, 2], 300)
    noisy = np.where(rng.random(300) < 0.6, uneven, rng.integers(0, 3, 300))
    for truth, named in ((uneven, noisy), (np.array([0] * 9 + [1]), np.zeros(10, int)), (uneven, uneven)):
        recalls = [(named[truth == k] == k).mean() for k in np.unique(truth)]
        precisions = [(truth[named == k] == k).mean() for k in np.unique(named)]
        mistakes = {
            (truth == named).mean(): "this is plain accuracy, in which a frequent class counts more",
            float(
                np.mean(precisions)
            ): "the mean is over images that are called so, class by class; take those that are so",
            float(np.sum(recalls)): "a mean over the classes is asked for, this is a sum",
        }
        found = called(balanced, truth.copy(), named.copy())
        case = f"{len(truth)} images, {len(recalls)} classes"
        compared(found, float(np.mean(recalls)), mistakes, case, relative=0, absolute=1e-6)
    return "Whoever always names one class gets 1 / classes, however frequent that class is."


def exercise_2(share: Any, *, exposures: int) -> str:
    """The share of test images that have an image of the same patient in train, where images are split one by one."""
    others = exposures - 1
    mistakes = {
        0.5: "so often is one certain other image in train; how often is at least one of them?",
        0.5**others: "so often is none of the others in train",
        0.5**exposures: "so often are all images of a patient on one side of the split, and not in train",
        1 - 0.5**exposures: "the test image itself is not in train: how many others are there?",
        1.0: "not all: by chance, all others of a patient may lie outside train",
    }
    found = compared(share, 1 - 0.5**others, mistakes, relative=0, absolute=0.003)
    return f"{found:.1%} of the test images have a twin in train; only {1 - found:.1%} are of patients that are new."


def exercise_3(test_patients: Any, *, image_set: ImageSet) -> str:
    """Which images go to the test, as a function of their patients and the test's share of the patients."""
    known = image_set.patients or ()
    for patients in (tuple("aabbccddeeffgghhiijj"), tuple("ecabdbceacbdeeb"), known):
        of = np.array(patients)
        chosen = array(called(test_patients, of.copy(), 0.4), of.shape, of=bool, name="which images go to the test")
        torn = set(of[chosen]) & set(of[~chosen])
        count = len(set(of.tolist()))
        case = f"{len(of)} images of {count} patients"
        if torn:
            raise Wrong(f"{case}: {len(torn)} of the patients have images on both sides")
        if chosen.all() or not chosen.any():
            raise Wrong(f"{case}: one side of the split is empty")
        taken = len(set(of[chosen].tolist()))
        if abs(taken - 0.4 * count) > 1:
            raise Wrong(f"{case}: {taken} patients are in the test, {0.4 * count:g} were asked for")
    return "No patient is on both sides. What was drawn are patients, not images; the images come along."


def exercise_4(error: Any) -> str:
    """The standard error of an accuracy where a patient's images are all right or all wrong."""
    images, spread = TESTED * EXPOSURES, ACCURACY * (1 - ACCURACY)
    mistakes = {
        sqrt(spread / images): "this takes every image as an independent trial",
        0.04: "this takes every image as an independent trial",
        sqrt(0.25 / TESTED): "this is for an accuracy of one half",
        spread / TESTED: "this is a variance; the error is on the scale of the accuracy itself",
        2 * sqrt(spread / TESTED): "this is how far a 95 % interval reaches to one side",
        sqrt(spread / EXPOSURES): "these are the images of one patient; how many patients are there?",
    }
    found = compared(error, sqrt(spread / TESTED), mistakes, relative=0.02)
    return (
        f"±{2 * found:.2f} at twice the standard error. {EXPOSURES} images a patient are worth hardly more than one: "
        "for a narrower interval, test more patients."
    )
