"""The files of attachments, where something else is in their place."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from agentdb.errors import Unavailable
from agentdb.hub.filing.folder import key_of
from agentdb.operating import files
from agentdb.operating.contents import StoredFile


def stored(content: bytes) -> StoredFile:
    return StoredFile(hashlib.sha256(content).hexdigest(), len(content))


def put(folder: Path, file: StoredFile, content: bytes) -> None:
    place = folder / key_of(file.sha256)
    place.parent.mkdir(parents=True)
    place.write_bytes(content)


def test_a_folder_in_the_place_of_a_file_is_a_file_that_is_missing(tmp_path: Path) -> None:
    sound, one, other = stored(b"sound"), stored(b"one"), stored(b"other")
    source, target = tmp_path / "source", tmp_path / "target"
    put(source, sound, b"sound")
    (source / key_of(one.sha256)).mkdir(parents=True)
    (source / key_of(other.sha256)).parent.parent.mkdir(parents=True, exist_ok=True)
    (source / key_of(other.sha256)).parent.write_bytes(b"no folder")

    missing = files.gather([sound, one, other], source, target, lambda _done, _of: None)

    assert missing == [one, other]
    assert files.damaged([sound, one, other], target, lambda _done, _of: None) == [one, other]


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, source = stored(b"secret"), tmp_path / "source"
    put(source, file, b"secret")
    place = source / key_of(file.sha256)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)  # as it is for files of another user
    monkeypatch.setattr("os.access", lambda path, _: path != place)

    with pytest.raises(Unavailable, match=f"the file {place} may not be read"):
        files.gather([file], source, tmp_path / "target", lambda _done, _of: None)
