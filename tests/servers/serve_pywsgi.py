"""gevent's own server, patched or not: serve_pywsgi.py PORT [unpatched]"""

import sys

if "unpatched" not in sys.argv:
    from gevent import monkey

    monkey.patch_all()

from gevent.pywsgi import WSGIServer

from tests.servers.app import app

WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
