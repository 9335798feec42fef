"""Tabs that share one stream in Firefox, driven over WebDriver BiDi."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.needs import lacking, needs
from tests.support import FACTOR

PUPPETEER = "puppeteer-core@24.43.1"


def test_tabs_of_firefox_share_one_stream(site, channel, tmp_path):
    """
    In Firefox too tabs have one stream, going from page to page costs none, and a page that comes out of the
    back/forward cache has what it missed.
    """
    needs("node", "npm", "firefox-esr")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), PUPPETEER]
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        lacking(f"needs npm's registry ({error})")
    (module,) = (tmp_path / "node_modules/puppeteer-core/lib").glob("esm/puppeteer/puppeteer-core.js")
    script = Path(__file__).with_name("firefox.mjs")
    argv = ["node", str(script), str(module), shutil.which("firefox-esr"), site.page(channel, share="auto")]
    lines = []
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},  # Firefox as root takes no other person's home
        start_new_session=True,
    ) as driver:
        for line in driver.stdout:
            lines.append(line)
            if line == "publish\n":
                site.publish(channel, 3)
                driver.stdin.write("\n")
                driver.stdin.flush()
        assert driver.wait(10 * FACTOR) == 0
    told = json.loads(lines[-1])
    assert told["problems"] == []
    assert told["other"] == {"count": 9, "last": 9, "problems": [], "errors": [], "resets": 0, "restored": 0}
    assert (told["mover"]["last"], told["mover"]["restored"]) == (9, 1)
    assert (told["mover"]["problems"], told["mover"]["errors"]) == ([], [])
    assert site.opened(channel) == 1
    assert site.journal("report") == []
