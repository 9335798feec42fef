import re
from pathlib import Path

from setuptools import find_packages, setup

version: dict[str, str] = {}
exec(Path("flask_sse_push/version.py").read_text(encoding="utf-8"), version)

REPOSITORY = ""
"""The address of the repository, such as ``https://example.com/owner/name``: empty until there is one."""


def read_description() -> str:
    """Return the README. Once the repository has an address, its links and pictures lead there."""
    text = Path("README.md").read_text(encoding="utf-8")
    if not REPOSITORY:
        return text
    tag = f"v{version['__version__']}"
    text = re.sub(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)", rf"![\1]({REPOSITORY}/raw/{tag}/\2)", text)
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:)([^)]+)\)", rf"[\1]({REPOSITORY}/blob/{tag}/\2)", text)


def list_urls() -> dict[str, str]:
    """Return what the package index shows beside the package."""
    if not REPOSITORY:
        return {}
    return {
        "Source": REPOSITORY,
        "Documentation": f"{REPOSITORY}/blob/main/docs/index.md",
        "Changes": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    }


# The lowest versions are those that ``nox -s tests`` runs, by tests/lowest.py: each Python takes the floor
# whose marker fits it.
GUNICORN = [
    "gunicorn[gevent]>=20.1",
    'gevent>=23.9; python_version < "3.13"',
    'gevent>=24.10.1; python_version >= "3.13"',
]
REDIS = ["redis>=6.0"]
PLOTS = "matplotlib>=3.8"
DOCS = ["sphinx>=8.1", "myst-parser>=4.0", "pallets-sphinx-themes>=2.3"]
EXAMPLE = [*GUNICORN, "psutil>=5.9"]
# Those of docs/servers.md that need no compiler.
SERVERS = [
    "a2wsgi>=1.10",
    "asgiref>=3.8",
    "cheroot>=10.0",
    "granian>=2.0",
    "hypercorn>=0.17",
    "pyuwsgi>=2.0.30",
    "starlette>=0.40",
    "tornado>=6.4",
    "twisted>=24.0",
    "uvicorn>=0.30",
    "waitress>=3.0",
]

setup(
    name="flask_sse_push",
    version=version["__version__"],
    description="Push events from Flask to browsers: a blueprint and a helper, no async.",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    project_urls=list_urls(),
    keywords=["flask", "sse", "server-sent events", "eventsource", "push", "streaming", "gevent"],
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["flask_sse_push", "flask_sse_push.*"]),
    package_data={
        "flask_sse_push": ["py.typed"],
        "flask_sse_push.extension.client": ["*.js", "*.mjs", "*.d.ts", "package.json"],
    },
    python_requires=">=3.10",
    install_requires=["flask>=2.3.3", "blinker>=1.6.2"],
    extras_require={
        "gunicorn": GUNICORN,
        "redis": REDIS,
        "docs": DOCS,
        "example": EXAMPLE,
        "benchmark": [
            *GUNICORN,
            *REDIS,
            PLOTS,
            "flask-sse>=1.0",
            "sse-starlette>=2.1",
            "uvicorn[standard]>=0.30",
        ],
        "test": [
            *EXAMPLE,
            *REDIS,
            PLOTS,
            *DOCS,
            *SERVERS,
            "basedpyright>=1.28",
            "build>=1.0",
            "coverage>=7.4",
            "datastar-py>=1.0",
            "eventlet>=0.36",
            "flask-cors>=4.0",
            "flask-httpauth>=4.8",
            "flask-jwt-extended>=4.6",
            "flask-limiter>=3.5",
            "flask-login>=0.6.3",
            "flask-security>=5.5.1",
            "flask-session[cachelib]>=0.8",
            "flask-sse>=1.0",
            "httpx>=0.27",
            "httpx-sse>=0.4.2",
            "hypothesis>=6.100",
            "mypy>=1.13",
            "playwright>=1.45",
            "pytest>=8.0",
            "pytest-randomly>=3.15",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
        ],
    },
    entry_points={"flask.commands": ["sse=flask_sse_push.operations.cli:sse_group"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: Flask",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP :: Dynamic Content",
        "Typing :: Typed",
    ],
)
