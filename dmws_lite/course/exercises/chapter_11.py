"""Checks of chapter 11, beyond selecting."""

from dmws_lite.course.answers import MOST, names, number, reject

SITUATIONS = {  # whether least squares cannot help there, and the text to show
    "full_width": (True, "full"),
    "no_images": (True, "no_images"),
    "long_training": (True, "long"),
    "unlabelled": (False, "unlabelled"),
    "short_training": (False, "short"),
    "other_half": (False, "other_half"),
}


def exercise_2(images, *, errors):
    """The smallest number of calibration images whose error on other images is at most twice the smallest there.

    errors: one row per number of images, with the errors fitted and others.
    """
    value, rows = number(images, 0, MOST), errors.set_index("images").sort_index()
    limit, tried = 2 * float(rows["others"].min()), ", ".join(map(str, rows.index))
    reject(value not in rows.index, "not_tried", n=f"{value:g}", tried=tried)
    n = int(value)
    row = {"n": n, "limit": limit, **rows.loc[n, ["fitted", "others"]].to_dict()}
    reject(row["others"] > limit >= row["fitted"], "fitted", **row)
    reject(row["others"] > limit, "too_few", **row)
    reject((rows.loc[: n - 1, "others"] <= limit).any(), "too_many", **row)
    return row


def exercise_3(situations):
    """Where compensation cannot help."""
    chosen = names(situations, list(SITUATIONS))
    for name, (helpless, reason) in SITUATIONS.items():
        reject((name in chosen) != helpless, reason)
