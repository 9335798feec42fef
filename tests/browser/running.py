"""The site of the browser tests, running: its server, its log of events, its journal."""

import json

from flask_sse_push import Publisher
from tests.servers.harness import Server

__all__ = ["Site"]


class Site:
    """
    A gunicorn of two workers, which can go away and come back on the same port: the log outlives it.

    Args:
        folder (Path): Where the log and the journal are.
    """

    def __init__(self, folder, **config):
        self._journal = folder / "journal"
        self._journal.touch()
        bus_url = f"sqlite:///{folder}/log.db"
        self._config = {
            "heartbeat_seconds": 0.5,
            "retry_milliseconds": 500,
            "history_length": 2000,
            **config,
            "bus_url": bus_url,
        }
        self.publisher = Publisher(bus_url)
        self._places = {}  # channel → the newest number, and its event's id
        self.server = None
        self.start()

    def start(self):
        """Start the server, where it was."""
        environ = {"SITE_JOURNAL": str(self._journal)}
        self.server = Server(
            "gunicorn-gevent",
            "-w",
            "2",
            app="tests.browser.site:app",
            port=self.server and self.server.port,
            environ=environ,
            **self._config,
        )

    def stop(self):
        """Stop the server."""
        self.server.stop()

    def close(self):
        """End all."""
        self.publisher.close()
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.port}"

    def page(self, channel, title="", at=None, **options):
        """Return the URL of a page that listens to a channel."""
        query = "".join(f"&{name}={value}" for name, value in options.items())
        return f"{at or self.url}/{title}?channel={channel}{query}"

    def page_here(self, channel, title="", **options):
        """Return the URL of a page that has what was published so far, and listens for what follows."""
        number, id = self._places[channel]
        return self.page(channel, title, after=number, cursor=id, **options)

    def publish(self, channel, count=1):
        """Publish the next numbers of a channel, from 1, and return the last."""
        before, _ = self._places.get(channel, (0, None))
        for number in range(before + 1, before + count + 1):
            id = self.publisher.publish(f"{number} €", channel=channel)
            self._places[channel] = (number, id)
        return number

    def journal(self, kind):
        """Return what was noted of a kind."""
        lines = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return [line[1] for line in lines if line[0] == kind]

    def opened(self, channel):
        """Return how many streams of a channel have been opened."""
        return self.journal("opened").count(channel)

    def streams(self, channel):
        """Return how many streams of a channel are open."""
        return self.opened(channel) - self.journal("closed").count(channel)
