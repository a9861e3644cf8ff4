"""Decode every file of a folder, whatever its name: python benchmarks/decode_sweep.py FOLDER [--size 64].

Prints how many files of each kind (ending) are decoded, refused with a reason, or end in a traceback (a fault), the
seconds, and the peak memory. Exits with 1 when there is a fault. Warnings carry the file's name.
"""

import argparse
import resource
import time
import traceback
import warnings
from collections import Counter, defaultdict
from pathlib import Path

from dmws_lite.data.images import decode, frames, is_dicom, suffix_of


def sweep(folder: Path, size: int) -> tuple[dict[str, Counter[str]], dict[str, float], list[str]]:
    """Counts of outcomes and seconds for each kind, and the faults' texts."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    faults = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        kind, start = suffix_of(path) or (".dcm" if is_dicom(path) else "(none)"), time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                frames(path)
                decode(path.read_bytes(), ".dcm" if kind == "(none)" else kind, size)
                outcome = "decoded"
            except (ValueError, ImportError, OSError) as error:
                outcome = "refused"
                print(f"refused  {path.relative_to(folder)}: {error}")
            except Exception:
                outcome = "fault"
                faults.append(f"{path}\n{traceback.format_exc()}")
        for warning in caught:
            print(f"warning  {path.relative_to(folder)}: {warning.message}")
        outcomes[kind][outcome] += 1
        seconds[kind] += time.perf_counter() - start
    return outcomes, seconds, faults


def main() -> int:
    """Sweep, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    outcomes, seconds, faults = sweep(arguments.folder, arguments.size)
    print(*faults, sep="\n")
    print(f"\n{'kind':12}{'decoded':>9}{'refused':>9}{'fault':>7}{'seconds':>9}")
    for kind, counts in sorted(outcomes.items()):
        print(f"{kind:12}{counts['decoded']:9}{counts['refused']:9}{counts['fault']:7}{seconds[kind]:9.1f}")
    total = sum(outcomes.values(), Counter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{total.total()} files, {dict(total)}, {sum(seconds.values()):.1f} s, peak memory {peak:.0f} MB")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
