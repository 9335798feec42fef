"""
The lowest versions of what users install beside the package: ``python -m tests.lowest``.

They are what the installed package declares for the Python that runs this. Where an old release cannot be
built for a newer Python, setup.py has two floors, and their markers say which of them counts.
"""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement

__all__ = ["lowest"]

EXTRAS = ("gunicorn", "redis")

COMPANIONS = {"gunicorn==20.1.*": "setuptools<67.5"}
"""What an old release needs and does not say: gunicorn 20.1 imports pkg_resources, which is gone by now."""


def lowest() -> list[str]:
    """Return them as requirements."""
    pins: dict[str, None] = {}
    for requirement in map(Requirement, requires("flask_sse_push") or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS):
            for floor in requirement.specifier:
                pins[f"{requirement.name}=={floor.version}.*"] = None
    return [*pins, *(COMPANIONS[pin] for pin in pins if pin in COMPANIONS)]


if __name__ == "__main__":
    print(*lowest())
