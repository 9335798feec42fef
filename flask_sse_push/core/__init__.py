"""Values and rules: no clock, no threads, no Flask. The time is told, nothing waits."""
