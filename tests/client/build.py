"""
Make the minified files of the browser's half: ``python -m tests.client.build`` (needs npm).

The same version of the same tool gives the same bytes, so a test can build them again and compare.
"""

import subprocess
import tempfile
from pathlib import Path

__all__ = ["CLIENT", "ESBUILD", "MINIFIED", "minify"]

CLIENT = Path(__file__).parents[2] / "flask_sse_push/extension/client"
ESBUILD = "esbuild@0.28.2"
MINIFIED = {"sse-push.js": "sse-push.min.js", "sse-status.js": "sse-status.min.js"}


def minify(folder):
    """Return the minified files by their names. ``folder`` is where npm may install."""
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), ESBUILD],
        check=True,
        capture_output=True,
        timeout=300,
    )
    made = {}
    for source, name in MINIFIED.items():
        done = subprocess.run(
            [f"{folder}/node_modules/.bin/esbuild", "--minify", "--target=es2022", str(CLIENT / source)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        made[name] = done.stdout
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, content in minify(folder).items():
            (CLIENT / name).write_bytes(content)
            print(name, len(content), "bytes")
