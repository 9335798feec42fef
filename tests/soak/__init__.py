"""
The fault suite: many clients, publishers and one fault at a time, written down and judged afterwards.
``python -m tests.soak --list``.
"""
