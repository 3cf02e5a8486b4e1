"""A message for Slack, without sending it.

A message is built once: what happened, numbers, details, and where to read on. `Message.text` is its plain
form, for the task log and for entries that silence it; `blocks` is its form in Slack. `delivery` decides
whether a message is sent, and `dags/operators/slack.py` sends it.
"""

from collections.abc import Sequence

import msgspec

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("min", 60), ("sec", 1))


class Origin(msgspec.Struct, frozen=True):
    """The run that a message is about.

    Attributes:
        run_id: Its id.
        run_url: Address of the run in Airflow's UI; "" if it is not known.
        log_url: Address of the task's log; "" if the message is about the whole run.
    """

    run_id: str
    run_url: str = ""
    log_url: str = ""

    @property
    def parts(self) -> list[str]:
        """The run, and links to run and log, in Slack's markup."""
        parts = [f"*Run*: `{escaped(self.run_id)}`"]
        if self.run_url:
            parts.append(link(self.run_url, "View Run"))
        if self.log_url:
            parts.append(f"*Log*: {link(self.log_url, 'View Logs')}")
        return parts


class Message(msgspec.Struct, frozen=True):
    """A message for Slack.

    Attributes:
        title: What happened, in a few words without markup, which must not come from outside.
        username: The name that Slack shows as its sender.
        dag_id: The DAG that sends it.
        task_id: The task that sends it; None if the message is about a whole run.
        alert: True for the connection `slack_alerts`, False for `slack_notifications`.
        summary: One sentence about it, in Slack's markup.
        fields: What people look for first, by name: numbers above all, in Slack's markup.
        lines: Details, in Slack's markup.
        origin: Its run; None if it is not known yet.
        completion: True for the report of a run that did its work, which can wait for the daily digest.
    """

    title: str
    username: str
    dag_id: str
    task_id: str | None = None
    alert: bool = False
    summary: str = ""
    fields: dict[str, str] = {}
    lines: tuple[str, ...] = ()
    origin: Origin | None = None
    completion: bool = False

    @property
    def text(self) -> str:
        """The whole content, a line for each part, in Slack's markup."""
        first = f"*{escaped(self.title)}*" + (f": {self.summary}" if self.summary else "")
        fields = [f"*{name}*: {value}" for name, value in self.fields.items()]
        return "\n".join([first, *fields, *self.lines, *(self.origin.parts if self.origin else ())])


def escaped(text: object) -> str:
    """Escape a string, so that Slack shows no mention or link in it."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str, label: str) -> str:
    """Return a link in Slack's markup. A character that would end it early is replaced."""
    return f"<{escaped(url).replace('|', '%7C')}|{escaped(label).replace('|', ' ')}>"


def duration(seconds: float | None) -> str:
    """Return a number of seconds in words, such as `1 hour, 3 mins`; `_No data_` if it is None."""
    if seconds is None:
        return "_No data_"
    if seconds < 1:
        return "less than 1 sec"
    words, rest = [], int(seconds)
    for unit, size in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            words.append(f"{number} {unit}{'s' if number > 1 else ''}")
    return ", ".join(words)


def bullets(texts: Sequence[str], most: int) -> list[str]:
    """Return lines for the first texts, and one that says how many more there are."""
    lines = [f"  - {escaped(text)}" for text in texts[:most]]
    if more := len(texts) - len(lines):
        lines.append(f"  - and {more:,} more")
    return lines
