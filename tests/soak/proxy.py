"""A TCP proxy: it can fall silent without closing, close, cut inside of something, and lead elsewhere."""

import contextlib
import socket
import threading

__all__ = ["Proxy"]


class Proxy:
    """Leads from a free port of 127.0.0.1 to another port; ends with the block."""

    def __init__(self, target):
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
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
        return f"redis://127.0.0.1:{self.port}/0"

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
                far = socket.create_connection(("127.0.0.1", self.target), 5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                for pair in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=pair, name="proxy", daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self._flowing.wait()
                if self._ended:
                    break
                if source in self._lost:
                    continue
                last = self._last
                if last is not None and last in piece:
                    self._last = None
                    sink.sendall(piece[: piece.index(last) + len(last)])
                    self.cut()
                    break
                sink.sendall(piece)
        self._flowing.wait()  # nor does an end get through
        with self._lock:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            # The other direction may still read it: it is closed by who comes last.
            if source in self._sockets:
                self._sockets -= {source, sink}
            else:
                source.close()
                sink.close()

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
