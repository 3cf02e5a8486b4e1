"""The Chromium of the machine, which photographs the dashboard and runs the browser tests."""

import os
import shutil

# As root, Chromium has no sandbox; the rest stops requests of its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NEEDED = "no Chromium was found"
ADVICE = "Install one (Debian: apt install chromium), or set CHROMIUM to its path."


def chromium() -> str | None:
    """Return the path of a Chromium, that of the environment variable CHROMIUM first; None without one."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
