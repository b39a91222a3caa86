"""Files that ``torch.save`` wrote, read without running what is in them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from prefetch_sim.traces.arrays import check_unpacked
from prefetch_sim.traces.errors import needs
from prefetch_sim.traces.trace import TraceError


def load(path: Path) -> Any:
    """What the file holds, its tensors on the CPU. Raises TraceError, also where torch is not."""
    try:
        import torch
    except ImportError:
        raise TraceError(f"{path}: {needs('torch', 'capture')}") from None
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(path, sum(entry.file_size for entry in archive.infolist()))
        return torch.load(path, map_location="cpu", weights_only=True)
    except TraceError:
        raise
    except Exception as error:  # whatever a damaged pickle or zip comes to
        reason = " ".join(str(error).split())[:120]
        raise TraceError(f"{path}: not readable by torch as plain data: {reason}") from None
