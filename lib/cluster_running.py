"""The entrypoints and clusters that run in this process, for whoever shows or counts them.

Knows: that none runs where nobody has loaded its module. So a hub that has neither does not load them: they
are a twentieth of its memory.
Refuses to know: what they do (cluster_entrypoint, cluster_live).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lib import service_supervisor

if TYPE_CHECKING:
    from lib.cluster_entrypoint import Entrypoint
    from lib.cluster_live import Cluster


def entrypoints() -> list[Entrypoint]:
    """Those that have started and not stopped yet."""
    module = sys.modules.get("lib.cluster_entrypoint")
    return service_supervisor.running(module.Entrypoint) if module is not None else []


def clusters() -> list[Cluster]:
    """The one that this process has joined and not left yet, or none."""
    module = sys.modules.get("lib.cluster_live")
    return service_supervisor.running(module.Cluster) if module is not None else []
