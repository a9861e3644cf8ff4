"""Progress bars: a widget in a notebook that somebody watches, text everywhere else."""

import os

TEXT_ONLY = "DMWS_TEXT_PROGRESS"

if os.environ.get(TEXT_ONLY):
    from tqdm import tqdm as tqdm
else:
    from tqdm.auto import tqdm as tqdm
