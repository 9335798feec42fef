"""
A TCP proxy: it can be slow, fall silent without closing, close, cut inside of something, and lead elsewhere.
"""

import contextlib
import queue
import socket
import threading
import time

__all__ = ["Proxy"]


_MOST_PIECES = 64  # under way in one direction


class Proxy:
    """
    Leads from a free port to another port; ends with the block.

    Args:
        target (int): The port that it leads to.
        host (str): The address of this machine where it listens.
        target_host (str): The address that it leads to.
        delay_seconds (float): How long everything takes, each way.
    """

    def __init__(self, target, host="127.0.0.1", target_host="127.0.0.1", delay_seconds=0.0):
        self.target = target
        self._host, self._target_host, self._delay_seconds = host, target_host, delay_seconds
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._sockets = set()
        self._ended = False
        self._last = None  # the bytes after which all is cut
        self._lost = frozenset()
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    @property
    def url(self):
        return f"redis://{self._host}:{self.port}/0"

    def hold(self):
        """
        Forward nothing more, and close nothing: what is sent now arrives when it flows again, if at all.
        """
        self._flowing.clear()

    def flow(self):
        self._flowing.set()

    def cut(self):
        """Close what is open."""
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def lose(self):
        """Forward nothing more on what is open, and close nothing; what comes later flows."""
        with self._lock:
            self._lost = frozenset(self._sockets)

    def cut_after(self, last):
        """Close what is open as soon as these bytes have come through, before what follows them."""
        self._last = last

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((self._target_host, self.target), 5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                for source, sink in ((near, far), (far, near)):
                    pieces = queue.Queue(_MOST_PIECES)
                    for run, arguments in (
                        (self._read, (source, pieces)),
                        (self._pass_on, (source, sink, pieces)),
                    ):
                        thread = threading.Thread(target=run, args=arguments, name="proxy", daemon=True)
                        self._threads.append(thread)
                        thread.start()

    def _read(self, source, pieces):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                pieces.put((time.monotonic() + self._delay_seconds, piece))
        pieces.put((time.monotonic() + self._delay_seconds, b""))

    def _pass_on(self, source, sink, pieces):
        is_open, piece = True, b"?"
        while piece:
            due, piece = pieces.get()
            if is_open:
                time.sleep(max(0.0, due - time.monotonic()))
                self._flowing.wait()  # nor does an end get through
                is_open = not self._ended and source not in self._lost and self._forward(piece, sink)
                if not is_open and source not in self._lost:
                    self._shut(source, sink)
        self._shut(source, sink)
        with self._lock:
            # The other direction may still use them: they are closed by who comes last.
            if source in self._sockets:
                self._sockets -= {source, sink}
            else:
                source.close()
                sink.close()

    def _forward(self, piece, sink):
        """Send a piece, and say whether more is to follow."""
        last = self._last
        try:
            if last is not None and last in piece:
                self._last = None
                sink.sendall(piece[: piece.index(last) + len(last)])
                self.cut()
                return False
            sink.sendall(piece)
        except OSError:
            return False
        return True

    def _shut(self, *sockets):
        with self._lock:
            for sock in sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.flow()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
