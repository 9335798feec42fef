"""A page that shows the machine it runs on, live: ``python -m example_app``."""
