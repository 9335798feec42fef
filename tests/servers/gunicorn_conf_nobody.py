"""
What a worker imports is imported before it becomes another user, who may not be able to read the interpreter.
"""

import encodings.ascii
import encodings.idna  # noqa: F401 - Werkzeug asks for it with the first request
import importlib
import pkgutil

import flask_sse_push

for module in pkgutil.walk_packages(flask_sse_push.__path__, "flask_sse_push."):
    importlib.import_module(module.name)

control_socket_disable = True
