"""Plan of a soak: actions and faults with their times, made from a seed. Pure."""

import random
from typing import Any

import msgspec

from catalog.soak.made_up import SOURCES

# Weights: how often an action or fault is chosen, relative to the others.
ACTIONS = {
    "pull": 5.0,
    "update": 3.0,
    "delete": 2.0,
    "restore": 1.5,
    "refresh": 3.0,
    "popularity": 1.0,
    "filtered": 1.5,
    "moderate": 6.0,
    "mark": 3.0,
    "clear": 4.0,
}
FAULTS = {
    "task-kill": 6.0,
    "task-term": 3.0,
    "worker-kill": 1.0,
    "scheduler-kill": 1.0,
    "dag-processor-kill": 0.5,
    "triggerer-kill": 0.5,
    "api-server-kill": 1.0,
    "database-crash": 1.5,
    "database-stop": 0.7,
    "session-end": 3.0,
    "engine-kill": 1.0,
    "api-500": 1.0,
    "api-429": 1.0,
    "api-cut": 1.0,
    "api-html": 1.0,
}
# Minimum seconds between two faults of a kind, as the local stack gives up a part that keeps ending.
PAUSES = {
    "worker-kill": 45.0,
    "scheduler-kill": 60.0,
    "dag-processor-kill": 60.0,
    "triggerer-kill": 60.0,
    "api-server-kill": 60.0,
    "database-crash": 60.0,
    "database-stop": 120.0,
    "engine-kill": 90.0,
}
ACTION_EVERY, FAULT_EVERY = 4.0, 12.0  # seconds on average
IMAGE_SHARE = 0.7  # of the actions that concern one media type
GROUPS = 4  # groups of records that are deleted and restored


class Step(msgspec.Struct, frozen=True):
    """One entry of a plan.

    Attributes:
        at: Seconds after the beginning.
        kind: A key of ACTIONS or FAULTS.
        args: What the kind needs. `pick`, from 0 to 1, chooses among what is there at that moment.
    """

    at: float
    kind: str
    args: dict[str, Any] = {}

    @property
    def is_fault(self) -> bool:
        return self.kind in FAULTS


def make_plan(seed: int, minutes: float) -> list[Step]:
    """Return the steps of a soak, ordered by time.

    Args:
        seed: The same seed makes the same plan.
        minutes: Duration.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    end = minutes * 60
    actions = _steps(chance, ACTIONS, ACTION_EVERY, end, {})
    faults = _steps(chance, FAULTS, FAULT_EVERY, end, PAUSES)
    return sorted([*actions, *faults], key=lambda step: step.at)


def _steps(
    chance: random.Random, weights: dict[str, float], every: float, end: float, pauses: dict[str, float]
) -> list[Step]:
    found: list[Step] = []
    at, last = chance.uniform(0, every), dict[str, float]()
    while at < end:
        free = {k: w for k, w in weights.items() if at - last.get(k, -1e9) >= pauses.get(k, 0)}
        kind = chance.choices(list(free), list(free.values()))[0]
        last[kind] = at
        found.append(Step(round(at, 2), kind, _args(chance, kind)))
        at += chance.uniform(0.4, 1.6) * every
    return found


def _args(chance: random.Random, kind: str) -> dict[str, Any]:
    media_type = "image" if chance.random() < IMAGE_SHARE else "audio"
    pick = round(chance.random(), 6)
    source = chance.choice(list(SOURCES))
    if kind == "pull":
        return {"source": source, "grows": chance.random() < 0.6}
    if kind == "update":
        return {"source": source, "digit": chance.randrange(10), "batch_size": chance.choice([20, 100, 1000])}
    if kind in ("delete", "restore"):
        return {"source": source, "group": chance.randrange(GROUPS)}
    if kind == "refresh":
        return {"media_type": media_type, "index_only": chance.random() < 0.2}
    if kind in ("popularity", "filtered"):
        return {"media_type": media_type}
    if kind in ("moderate", "mark"):
        return {"media_type": media_type, "pick": pick, "number": chance.randint(1, 5)}
    if kind == "clear":
        return {
            "pick": pick,
            "what": chance.choice(["run", "task", "task"]),
            "task": round(chance.random(), 6),
        }
    if kind.startswith("api-") and kind != "api-server-kill":
        return {"source": source, "seconds": round(chance.uniform(3, 20), 1)}
    return {"pick": pick}
