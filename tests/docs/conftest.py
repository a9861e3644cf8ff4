"""The modules of docs/ are imported as Sphinx does it: from their folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "docs"))
