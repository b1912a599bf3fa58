"""Raw streams: bytes pass with their type; what breaks off is cut, or told where it is a stream of events."""

from __future__ import annotations

import asyncio

import pytest

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.errors import ProxyError, UpstreamBroken
from apipod_proxy.stream.raw import BYTES, RawLens, RawOutlet, content_type


class Frames:
    ping = b": ping\n\n"

    def error(self, error: ProxyError) -> bytes:
        return b"data: error\n\n"


class Client:
    """Keeps what an answer does."""

    begun = False
    gone = False
    paused = False
    sent = 0

    def __init__(self) -> None:
        self.did: list[bytes] = []

    def begin_stream(self, content: bytes = b"") -> None:
        self.begun = True
        self.did.append(content)

    def write(self, data: bytes) -> bool:
        self.did.append(data)
        return False

    def end(self) -> None:
        self.did.append(b"<end>")

    async def drained(self) -> None: ...

    def abort(self) -> None:
        self.did.append(b"<cut>")


def read_nothing(tail: bytes) -> Usage:
    raise AssertionError("no stream of events")


class Pump:
    def __init__(self, kind: bytes) -> None:
        self.headers = [(b"server", b"x"), (b"content-type", kind)]


def test_every_byte_passes_and_an_empty_answer_is_none() -> None:
    lens = RawLens(read_nothing)
    assert lens.feed(b"") == b""
    before = lens.content
    assert not before
    with pytest.raises(Truncated):
        lens.eof()
    assert lens.feed(b"\x00\xff") == b"\x00\xff" and lens.content
    assert lens.eof() == b""
    assert lens.usage.output == 0 and lens.usage.input is None


@pytest.mark.parametrize("size", [1, 7, 5000, 100_000])
def test_the_end_of_a_stream_of_events_is_looked_at(size: int) -> None:
    seen: list[bytes] = []

    def look(tail: bytes) -> Usage:
        seen.append(tail)
        return Usage(input=5)

    whole = b'data: {"b64_json":"' + b"A" * 9000 + b'","usage":{}}\n\n'
    lens = RawLens(look)
    # Which answers are events is told by the beginning of the first piece.
    pieces = [whole[:6], *(whole[at : at + size] for at in range(6, len(whole), size))]
    assert b"".join(map(lens.feed, pieces)) == whole
    assert lens.usage.input == 5
    assert seen == [whole[-4096:]]


@pytest.mark.parametrize(
    ("kind", "last"), [(b"audio/mpeg", [b"<cut>"]), (b"text/event-stream", [b"data: error\n\n", b"<end>"])]
)
async def test_what_breaks_off_is_told_or_cut(kind: bytes, last: list[bytes]) -> None:
    client = Client()
    outlet = RawOutlet(client, Frames(), asyncio.get_running_loop())
    assert outlet.claim(Pump(kind), None)
    assert not outlet.claim(Pump(b"other"), None)
    outlet.write(b"one")
    outlet.fail(UpstreamBroken("it"))
    outlet.fail(UpstreamBroken("again"))
    assert client.did == [b"content-type: %b\r\ncache-control: no-cache\r\n" % kind, b"one", *last]


async def test_no_ping_is_put_between_bytes() -> None:
    client = Client()
    outlet = RawOutlet(client, Frames(), asyncio.get_running_loop())
    outlet.claim(Pump(b"audio/mpeg"), None)
    outlet.write(b"one")
    await asyncio.sleep(0.01)
    outlet.finish()
    assert client.did[1:] == [b"one", b"<end>"]


def test_an_answer_without_a_type_is_bytes() -> None:
    assert content_type([(b"content-type", b"")]) == content_type([]) == BYTES
