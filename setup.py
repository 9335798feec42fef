from pathlib import Path

from setuptools import find_packages, setup

version: dict[str, str] = {}
exec(Path("flask_sse_push/version.py").read_text(encoding="utf-8"), version)

GUNICORN = ["gunicorn[gevent]>=27.0", "gevent>=26.4"]
REDIS = ["redis>=6.0"]
PLOTS = "matplotlib>=3.8"
EXAMPLE = [*GUNICORN, "psutil>=5.9"]

setup(
    name="flask_sse_push",
    version=version["__version__"],
    description="Push events from Flask to browsers: a blueprint and a helper, no async.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["flask_sse_push", "flask_sse_push.*"]),
    package_data={"flask_sse_push": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["flask>=3.0", "blinker>=1.8"],
    extras_require={
        "gunicorn": GUNICORN,
        "redis": REDIS,
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
            "build>=1.0",
            "coverage>=7.4",
            "flask-httpauth>=4.8",
            "flask-jwt-extended>=4.6",
            "flask-login>=0.6.3",
            "flask-security>=5.5.1",
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
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Internet :: WWW/HTTP :: Dynamic Content",
        "Typing :: Typed",
    ],
)
