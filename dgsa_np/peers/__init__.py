"""Other people's layouts of the same attention, both ways, and their modules beside ours.

from dgsa_np.peers import conform

report = conform(module, like="timm")
assert report.ok, report
"""

from .conform import Report, conform
from .layouts import (
    LAYOUTS,
    LayoutError,
    from_peer,
    gradients_from_peer,
    gradients_to_peer,
    to_peer,
)

__all__ = [
    "LAYOUTS",
    "LayoutError",
    "Report",
    "conform",
    "from_peer",
    "gradients_from_peer",
    "gradients_to_peer",
    "to_peer",
]
