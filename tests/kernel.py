"""A Jupyter kernel in a forked process, of `arguments`, `environment` and `folder`: see `Forked` in conftest.py."""

import os
import sys
from pathlib import Path

from ipykernel.kernelapp import launch_new_instance

given = globals()
os.setsid()  # signals are for the whole group of the kernel
os.chdir(given["folder"])
os.environ.clear()
os.environ |= given["environment"] | {"JPY_PARENT_PID": str(os.getppid())}
own = str(Path(__file__).parents[1])
sys.path[:] = [own, *(path for path in sys.path if not path.startswith(own) or "site-packages" in path)]
sys.argv[1:] = given["arguments"]
launch_new_instance()
