"""Checks of chapter 01, meet the data."""

import numpy as np

from dmws_lite.course.answers import array, call_function, compare, reject


def exercise_1(balanced):
    """Balanced accuracy, as a function of the true and the predicted classes."""
    rng = np.random.default_rng(0)
    uneven = rng.choice([0, 0, 0, 0, 1, 2], 300)
    noisy = np.where(rng.random(300) < 0.6, uneven, rng.integers(0, 3, 300))
    for truth, predicted in ((uneven, noisy), (np.array([0] * 9 + [1]), np.zeros(10, int)), (uneven, uneven)):
        recalls = [(predicted[truth == k] == k).mean() for k in np.unique(truth)]
        precisions = [(truth[predicted == k] == k).mean() for k in np.unique(predicted)]
        mistakes = {"plain": (truth == predicted).mean(), "precisions": np.mean(precisions), "total": np.sum(recalls)}
        answer = call_function(balanced, truth.copy(), predicted.copy())
        case = f"{len(truth)} images, {len(recalls)} classes"
        compare(answer, np.mean(recalls), case, relative=0, absolute=1e-6, **mistakes)


def exercise_3(test_patients, *, image_set):
    """Which images go to the test, as a function of their patients and the test's share of the patients."""
    for patients in ("aabbccddeeffgghhiijj", "ecabdbceacbdeeb", "aaaaaaaaaabcde", image_set.patients or ()):
        ids = np.array(tuple(patients))
        chosen = array(call_function(test_patients, ids.copy(), 0.4), ids.shape, bool, "which images go to the test")
        count, tested = len(np.unique(ids)), len(np.unique(ids[chosen]))
        both_sides = len(set(ids[chosen]) & set(ids[~chosen]))
        case = f"{len(ids)} images of {count} patients"
        reject(both_sides > 0, "both_sides", case, n=both_sides)
        reject(chosen.all() or not chosen.any(), "empty", case)
        reject(abs(tested - 0.4 * count) >= 1, "count", case, n=tested, asked=0.4 * count)
