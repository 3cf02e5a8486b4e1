"""The parts of a DAG's documentation that are generated."""

import json
from collections.abc import Mapping

from airflow.sdk import Param


def conf_table(params: Mapping[str, Param]) -> str:
    """Render the conf keys of a DAG as a Markdown table; an empty string if it has none."""
    if not params:
        return ""
    rows = []
    for name, param in params.items():
        types = param.schema.get("type", "any")
        kinds = [t for t in ([types] if isinstance(types, str) else types) if t != "null"]
        kind = " or ".join(kinds) + (", format `YYYY-MM-DD`" if param.schema.get("format") == "date" else "")
        default = (
            f"`{json.dumps(param.value)}`" if param.has_value else "none" if "null" in types else "required"
        )
        meaning = param.schema.get("description_md") or param.description or ""
        rows.append(f"| `{name}` | {kind} | {default} | {meaning} |")
    return "**Configuration**\n\n| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n" + "\n".join(
        rows
    )


def conf_example(dag_id: str, example: Mapping[str, object] | None) -> str:
    """Render the command that triggers a DAG with an example conf; `{}` is an example without conf."""
    if example is None:
        return ""
    conf = f" --conf '{json.dumps(example)}'" if example else ""
    return f"Example: `airflow dags trigger {dag_id}{conf}`"
