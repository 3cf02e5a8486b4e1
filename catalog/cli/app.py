"""The `catalog` program."""

import typer

from catalog.cli import adoption, database, ingest, program, providers, recovery, sample_data, search, status

app = typer.Typer(
    no_args_is_help=True, help="A catalog of openly licensed media.", pretty_exceptions_enable=False
)
app.command("ingest")(ingest.ingest)
app.command("record")(ingest.record)
app.command("status")(status.status)
app.command("providers")(providers.providers)
app.command("provider")(status.provider)
app.command("search")(search.search_command)
app.command("sample-data")(sample_data.sample_data)
app.add_typer(database.db, name="db")
app.add_typer(search.policies, name="tag-policy")
database.db.command("adopt")(adoption.adopt_command)
database.db.command("restored")(recovery.restored_command)


def main() -> None:
    """Run the program; errors are one line, not a traceback."""
    program.run(lambda: app(standalone_mode=False), "catalog")
