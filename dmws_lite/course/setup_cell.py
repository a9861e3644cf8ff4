"""The one cell that opens every chapter: it installs what is missing, changes nothing else, and says where it runs."""

from dmws_lite import __version__

TEXT = """\
import contextlib
import importlib.util
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

if importlib.util.find_spec("dmws_lite") is None:  # on Colab and Kaggle (there, switch Internet on in the settings)
    source = "dmws-lite[course] @ git+https://github.com/dmws-lite/dmws-lite@v{version}"
    kept = "torch torchvision numpy protobuf ipywidgets widgetsnbextension jupyterlab-widgets ipykernel ipython"
    pins = []
    for name in kept.split():
        with contextlib.suppress(PackageNotFoundError):
            pins.append(f"{{name}}=={{version(name)}}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", source, *pins]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"dmws-lite could not be installed, and nothing was changed: {{done.stderr}}")

import dmws_lite as dm

dm.announce()"""


def setup_cell() -> str:
    """The setup cell's source: the release of this version, and pins for all that pip must refuse to replace."""
    return TEXT.format(version=__version__)
