"""
Measures flask_sse_push beside other ways to push, on the same work in one run: ``python -m benchmarks``.
"""
