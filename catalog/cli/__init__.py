"""The `catalog` command: one module for each group of commands, put together in `app`."""


def main() -> None:
    """The entry point. The commands are imported when it runs, so that `catalog.cli.program` costs little."""
    from catalog.cli import app

    app.main()
