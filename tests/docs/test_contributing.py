"""What CONTRIBUTING.md and the pre-commit file tell a contributor to run."""

import re
import subprocess
import sys

from tests.docs.pages import ROOT, page
from tests.docs.test_readme import INSTALL_AND_TEST
from tests.needs import needs
from tests.support import FACTOR

PAGE = page("CONTRIBUTING.md")
FIRST = PAGE.block("From a clone to green tests", "sh")
BUILD = PAGE.block("The documentation", "sh")


def test_first_command_is_the_readmes_for_the_quick_tests():
    """One command leads from a clone to green tests, and pytest knows its marker."""
    assert INSTALL_AND_TEST.strip() + " -m quick\n" == FIRST
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "--markers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
        check=True,
    ).stdout
    markers = {row[0].strip("`") for row in PAGE.table("| marker |")}
    assert markers <= set(re.findall(r"^@pytest\.mark\.(\w+)", shown, re.MULTILINE))


def test_pre_commit_hooks_are_checks_of_ci():
    """Each hook runs a program of the environment, which CI runs too, and none is fetched from elsewhere."""
    needs(modules=["yaml"])
    import yaml

    file = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in file["repos"]} == {"local"}
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    hooks = [hook for repository in file["repos"] for hook in repository["hooks"]]
    assert len(hooks) == 3
    for hook in hooks:
        python, dash, module, *words = hook["entry"].split()
        assert (python, dash, hook["language"]) == (".venv/bin/python", "-m", "system")
        assert " ".join([module, *[word for word in words if not word.startswith("-")]]) in ci
