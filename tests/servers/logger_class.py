"""A logger of gunicorn's that marks what it is given."""

from gunicorn.glogging import Logger


class Marking(Logger):
    def warning(self, msg, *args, **kwargs):
        super().warning("marked: " + msg, *args, **kwargs)
