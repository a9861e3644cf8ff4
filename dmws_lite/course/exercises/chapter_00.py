"""Checks of chapter 00, the quickstart."""

import pandas as pd

from dmws_lite.course.answers import array, call_function, compare, smallest
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
        total = images.sum()
        classes = table.index[(images > 0) & (images < total)]  # have images, and others to be distinguished from
        accuracy = sum(table.loc[k, k] for k in table.index) / total
        for name in classes:
            answer = array(call_function(measures, table.copy(), name), (2,), case="sensitivity and specificity")
            hits, row, column = table.loc[name, name], images[name], table[name].sum()
            sensitivity, specificity = hits / row, (total - row - column + hits) / (total - row)
            precision = {"precision": hits / column} if column else {}
            mistakes = {"exchanged": specificity, "accuracy": accuracy} | precision
            compare(answer[0], sensitivity, f"sensitivity of {name!r}", **mistakes)
            mistakes = {"repeated": sensitivity, "false_alarms": 1 - specificity, "accuracy": accuracy}
            mistakes["right_elsewhere"] = (accuracy * total - hits) / (total - row)
            compare(answer[1], specificity, f"specificity of {name!r}", **mistakes)
    return {"name": min(classes, key=lambda name: counts.loc[name, name] / counts.loc[name].sum())}


def exercise_3(seeds):
    """The smallest number of seeds with which agreement by chance alone has p below 0.05."""
    smallest(seeds, smallest_p, LEVEL)
