"""Conformance of markers, for backends that keep one; others are known by their name alone, and skip them."""

from __future__ import annotations

import json
import threading

import pytest

from src.errors import ObjectExists
from src.storage.conformance.fixtures import BackendTests
from src.storage.contract import StorageBackend
from src.storage.keys import case_key
from src.storage.marker import MarkedBackend


class MarkerConformance(BackendTests):
    """A marker is created once, replaced only by those who read it, and is not an object."""

    @pytest.fixture
    def marked(self, backend: StorageBackend) -> MarkedBackend:
        if not isinstance(backend, MarkedBackend):
            pytest.skip("this backend keeps no marker")
        return backend

    def test_a_marker_is_created_once_and_replaced_by_those_who_read_it(self, marked: MarkedBackend) -> None:
        assert marked.read_marker() is None
        marked.write_marker(b'{"one": 1}', replaces=None)
        assert marked.read_marker() == b'{"one": 1}'
        with pytest.raises(ObjectExists):
            marked.write_marker(b'{"two": 2}', replaces=None)
        with pytest.raises(ObjectExists):
            marked.write_marker(b'{"two": 2}', replaces=b'{"two": 1}')
        assert marked.read_marker() == b'{"one": 1}'
        marked.write_marker(b'{"two": 2}', replaces=b'{"one": 1}')
        assert marked.read_marker() == b'{"two": 2}'

    def test_a_marker_is_not_an_object(self, marked: MarkedBackend) -> None:
        key = case_key(1, "wav")
        marked.put(key, b"x")
        marked.write_marker(b"{}", replaces=None)
        assert [info.key for info in marked.list()] == [key]
        assert marked.delete(key)
        assert marked.read_marker() == b"{}"

    def test_one_of_several_that_create_the_marker_succeeds(self, marked: MarkedBackend) -> None:
        if not self.atomic_create:
            pytest.skip("the server ignores conditions")
        start = threading.Barrier(4)
        winners: list[bytes] = []

        def write(number: int) -> None:
            content = json.dumps({"number": number}).encode()
            start.wait()
            try:
                marked.write_marker(content, replaces=None)
            except ObjectExists:
                return
            winners.append(content)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert winners == [marked.read_marker()]

    def test_the_location_is_json_without_secrets(self, marked: MarkedBackend) -> None:
        location = marked.location
        assert json.loads(json.dumps(location)) == location
        assert not {"access_key_id", "secret_access_key", "session_token", "password"} & location.keys()
