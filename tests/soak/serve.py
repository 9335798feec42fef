"""
Runs the command of a server with this suite's app in place of the servers' own: ``python -m tests.soak.serve
COMMAND...``.
"""

import os
import sys

if __name__ == "__main__":
    command = [part.replace("tests.servers.app", "tests.soak.app") for part in sys.argv[1:]]
    os.execv(command[0], command)
