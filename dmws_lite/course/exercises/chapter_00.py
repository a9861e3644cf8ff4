"""Checks of chapter 00, the quickstart."""

import pandas as pd

from dmws_lite.course.answers import array, called, compare, smallest
from dmws_lite.studies.statistics import LEVEL, smallest_p

CLASSES = pd.Index(["a", "b", "c"])
MADE_UP = pd.DataFrame([[6, 3, 1], [2, 15, 3], [0, 4, 36]], CLASSES, CLASSES)


def values_1(*, plans):
    """The shares of the teacher that the main student, the auxiliary, and both at once hold."""
    main, auxiliary = plans
    shared = main.overlap(auxiliary).total
    return {"main": main.coverage().total, "auxiliary": auxiliary.coverage().total, "shared": shared}


def exercise_2(measures, *, counts):
    """Sensitivity and specificity of a class, as a function of the table of counts and the class's name."""
    for table in (MADE_UP, counts):
        images = table.sum(axis=1)
        whole = images.sum()
        named = table.index[(images > 0) & (images < whole)]  # have images, and others to be told from
        accuracy = sum(table.loc[k, k] for k in table.index) / whole
        for name in named:
            answer = array(called(measures, table.copy(), name), (2,), case="sensitivity and specificity")
            hit, row, column = table.loc[name, name], images[name], table[name].sum()
            sensitivity, specificity = hit / row, (whole - row - column + hit) / (whole - row)
            precision = {"precision": hit / column} if column else {}
            mistakes = {"exchanged": specificity, "accuracy": accuracy} | precision
            compare(answer[0], sensitivity, f"sensitivity of {name!r}", **mistakes)
            right_elsewhere = (accuracy * whole - hit) / (whole - row)
            mistakes = {"repeated": sensitivity, "false_alarms": 1 - specificity, "accuracy": accuracy}
            mistakes["right_elsewhere"] = right_elsewhere
            compare(answer[1], specificity, f"specificity of {name!r}", **mistakes)
    return {"name": min(named, key=lambda name: counts.loc[name, name] / counts.loc[name].sum())}


def exercise_3(seeds):
    """The smallest number of seeds with which agreement by chance alone has p below 0.05."""
    smallest(seeds, smallest_p, LEVEL)
