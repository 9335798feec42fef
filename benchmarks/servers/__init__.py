"""
One server per module, each with ``GET /events?channel=`` and ``POST
/publish?seconds=&rate=&channels=&most=&text=``.
"""
