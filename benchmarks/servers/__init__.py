"""One WSGI app per module, each with ``GET /events?channel=`` and ``POST /publish?n=&rate=&channels=``."""
