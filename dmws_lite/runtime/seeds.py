"""Seeds: the same numbers give the same random draws."""

from __future__ import annotations

import numpy as np
import torch

from dmws_lite.runtime.text import require_seed


def generator(*numbers: int) -> torch.Generator:
    """A torch generator on the CPU whose draws depend on `numbers` (a seed, and others that tell streams apart) alone.

    >>> generator(1, 2).initial_seed() == generator(1, 2).initial_seed() != generator(2, 1).initial_seed()
    True
    """
    seed = np.random.SeedSequence([*map(require_seed, numbers)]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) % 2**63)
