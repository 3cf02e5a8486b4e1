"""The state of a search engine's cluster, and whether it differs from the one that was reported last.

Separate from `cluster`, which reads it, because the client of the engine takes long to import.
"""

from typing import Literal

import msgspec

State = Literal["well", "degraded", "critical", "unreachable", "not configured"]


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong with the cluster.

    Attributes:
        key: What identifies it. A problem with another key is a change; other numbers in the text are not.
        text: One sentence.
        critical: Documents cannot be found or written.
        runbook: Anchor of the row of the runbook.
    """

    key: str
    text: str
    critical: bool = False
    runbook: Literal["engine-status", "engine-disk", "alias", "shrinking", "unknown"] = "engine-status"


class Cluster(msgspec.Struct, frozen=True):
    """A cluster as one check has found it.

    Attributes:
        state: `critical` if a problem is, `degraded` if there are others, `unreachable` if the engine does
            not answer or refuses the user.
        problems: What is wrong; empty if the state is `well`.
        about: Status, nodes and shards, in words; "" if the engine does not answer.
    """

    state: State
    problems: tuple[Problem, ...] = ()
    about: str = ""


class Known(msgspec.Struct, frozen=True):
    """The state that was reported last.

    Attributes:
        state: See `Cluster`.
        problems: Keys of the problems.
    """

    state: State
    problems: tuple[str, ...] = ()


def known(cluster: Cluster) -> Known:
    """Return what to remember of a cluster."""
    return Known(cluster.state, tuple(sorted(problem.key for problem in cluster.problems)))


def differs(cluster: Cluster, before: Known | None) -> bool:
    """Return whether a cluster has to be reported.

    Args:
        cluster: Result of `look`.
        before: The state that was reported last; None at the first check, which reports only problems.
    """
    if before is None:
        return cluster.state not in ("well", "not configured")
    return known(cluster) != before
