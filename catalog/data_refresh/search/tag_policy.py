"""Policy of searchable tags. Databases keep all tags; documents get those that pass.

Names are compared in lower case. The rules apply in this order: a tag without a name is malformed; its
provider may be excluded; the accuracy that a machine states may be too low; some names are denied, and names
that contain certain substrings.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from catalog.core.errors import Fatal
from catalog.core.numbers import number_of

MALFORMED, EXCLUDED, INACCURATE, DENIED, SUBSTRING = (
    "malformed",
    "excluded provider",
    "accuracy",
    "denied",
    "denied substring",
)
RULES = (MALFORMED, EXCLUDED, INACCURATE, DENIED, SUBSTRING)
_CACHED = 200_000  # names whose verdict is cached
_LONG = 200  # characters; longer names are not cached, so that the cache's memory is bounded
_LARGEST = 3.4e38  # the largest 32-bit float, which the engine stores


class TagPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for tags; the Variable TAG_POLICY.

    Attributes:
        denied: Names that are dropped.
        denied_substrings: Names that contain one of these are dropped.
        minimum_accuracy: Tags with a lower accuracy are dropped; tags without one are kept.
        excluded_providers: Providers of tags (not of media) whose tags are dropped.
    """

    denied: tuple[str, ...] = (
        "no person",
        "squareformat",
        "uploaded:by=flickrmobile",
        "uploaded:by=instagram",
        "flickriosapp:filter=flamingo",
        "by",
    )
    denied_substrings: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = (
        "flickriosapp",
        "uploaded",
        ":",
        "=",
        "cc0",
        "by-nc",
        "by-nd",
        "by-sa",
        "by-nc-nd",
        "by-nc-sa",
        "pdm",
    )
    minimum_accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    excluded_providers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A short hash, equal for policies that drop the same tags."""
        lists = [sorted({name.lower() for name in names}) for names in (self.denied, self.denied_substrings)]
        text = msgspec.json.encode([*lists, self.minimum_accuracy, sorted(set(self.excluded_providers))])
        return hashlib.sha256(text).hexdigest()[:12]


DEFAULT = TagPolicy()


def policy_from(value: Any) -> TagPolicy:
    """Parse a policy from JSON; missing keys have defaults. Raises Fatal, naming a malformed key."""
    try:
        return msgspec.convert(value or {}, TagPolicy)
    except msgspec.ValidationError as error:
        known = ", ".join(TagPolicy.__struct_fields__)
        raise Fatal(f"TAG_POLICY: {error}. Its keys are {known}; see docs/tag_filtering.md.") from None


def built_with(meta: Mapping[str, Any]) -> TagPolicy | None:
    """Return the policy that is recorded in `_meta` of an index; None if there is none."""
    recorded = meta.get("tag_policy")
    return msgspec.convert(recorded, TagPolicy) if recorded else None


class TagFilter:
    """Applies a policy to many tag lists. It is not thread-safe.

    Attributes:
        policy: The policy.
        counts: Number of dropped tags by rule, and of `kept` ones.
    """

    def __init__(self, policy: TagPolicy) -> None:
        self.policy, self.counts = policy, Counter[str]()
        self._denied = frozenset(name.lower() for name in policy.denied)
        self._parts = tuple(part.lower() for part in policy.denied_substrings)
        self._excluded, self._least = frozenset(policy.excluded_providers), policy.minimum_accuracy
        self._verdicts: dict[str, str | None] = {}

    def rule(self, tag: Any) -> str | None:
        """Return the rule that drops a tag; None if it is kept."""
        if not isinstance(tag, dict):
            return MALFORMED
        name = tag.get("name")
        if not isinstance(name, str):
            return MALFORMED
        if self._excluded and type(by := tag.get("provider")) is str and by in self._excluded:
            return EXCLUDED
        accuracy = tag.get("accuracy")
        if accuracy is not None:
            if type(accuracy) is not float and (accuracy := _number(accuracy)) is None:
                return MALFORMED
            if not self._least <= accuracy <= _LARGEST:  # also drops NaN
                return INACCURATE
        verdicts = self._verdicts
        if name in verdicts:
            return verdicts[name]
        if len(name) > _LONG:
            return self._judge(name)
        if len(verdicts) >= _CACHED:
            verdicts.clear()
        verdict = verdicts[name] = self._judge(name)
        return verdict

    def _judge(self, name: str) -> str | None:
        lowered = name.lower().strip()
        if not lowered:
            return MALFORMED
        if lowered in self._denied:
            return DENIED
        return SUBSTRING if any(part in lowered for part in self._parts) else None

    def __call__(self, tags: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the tags of a document, and the texts of the dropped ones.

        Args:
            tags: The value stored in the database, of any JSON type.
        """
        kept: list[dict[str, Any]] = []
        dropped: list[str] = []
        if tags is None:
            return kept, dropped
        if not isinstance(tags, list):
            self.counts[MALFORMED] += 1
            return kept, [_text(tags)]
        rule_of = self.rule
        for tag in tags:
            rule = rule_of(tag)
            if rule is None:
                accuracy = tag.get("accuracy")
                kept.append(
                    {"name": tag["name"]}
                    if accuracy is None
                    else {"name": tag["name"], "accuracy": float(accuracy)}
                )
                continue
            self.counts[rule] += 1
            name = tag.get("name") if isinstance(tag, dict) else None
            if text := name if isinstance(name, str) else _text(tag):
                dropped.append(text)
        self.counts["kept"] += len(kept)
        return kept, dropped


def _text(value: Any) -> str:
    """Return the text of something that is no tag, in which sensitive terms are searched; "" without text."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """Return a finite number that is stored as a number or a string; None for anything else."""
    if isinstance(value, bool):
        return None
    number = number_of(value)
    return number if number is not None and math.isfinite(number) else None
