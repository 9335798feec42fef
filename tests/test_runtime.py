"""The private folder of a server, as far as it shows without one."""

import contextlib
import os
import threading

import pytest

from flask_sse_push import ConfigurationError
from flask_sse_push.runtime import private_folder


def test_private_folder_is_made_for_this_user_alone(tmp_path):
    """It is named for the user, nobody else may enter, and it is found again."""
    folder = private_folder(tmp_path)
    assert folder.name == f"flask_sse_push-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(tmp_path) == folder


def test_private_folder_that_others_can_enter_is_refused(tmp_path):
    """A folder that somebody opened up, or made before us, is not used, and the message says what to do."""
    private_folder(tmp_path).chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"must be a folder of this user that nobody else can enter, got mode drwxr-xr-x of user \d+\. Remove it"):
        private_folder(tmp_path)


def test_private_folder_that_is_a_link_is_refused(tmp_path):
    """A link in its place, which leads elsewhere, is not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / f"flask_sse_push-{os.geteuid()}").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="got mode lrwx"):
        private_folder(tmp_path)
    assert not list(elsewhere.iterdir())


def test_private_folder_that_is_a_file_is_refused(tmp_path):
    """A file in its place is left alone."""
    (tmp_path / f"flask_sse_push-{os.geteuid()}").write_text("mine")
    with pytest.raises(ConfigurationError, match="got mode -rw"):
        private_folder(tmp_path)


def test_private_folder_that_goes_at_the_same_moment_is_made_again(tmp_path):
    """The last worker of another server may take the empty folder away while this one looks at it."""
    folder, done = tmp_path / f"flask_sse_push-{os.geteuid()}", threading.Event()

    def leave():
        while not done.is_set():
            with contextlib.suppress(OSError):
                folder.rmdir()

    leaving = threading.Thread(target=leave)
    leaving.start()
    try:
        for _ in range(2_000):
            assert private_folder(tmp_path) == folder
    finally:
        done.set()
        leaving.join()


def test_private_folder_without_a_place_is_told(tmp_path):
    """Where there is no folder to make it in, that is an error and no endless try."""
    with pytest.raises(FileNotFoundError):
        private_folder(tmp_path / "nowhere")
