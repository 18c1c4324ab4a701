"""The browser of tests and of the scripts that take the pictures of the docs."""

import shutil

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first has no windows."""

EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
"""None where no browser is on the PATH."""
