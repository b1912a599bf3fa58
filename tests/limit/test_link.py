from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apipod_proxy.limit import link
from apipod_proxy.limit.link import Link, ask
from apipod_proxy.limit.script import beat

from .conftest import OwnRedis, until


class Told:
    """What a link told, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def lost(self) -> None:
        self.words.append("lost")

    def found(self, wiped: bool) -> None:
        self.words.append("wiped" if wiped else "found")

    def beaten(self) -> None:
        self.words.append("beaten")


@asynccontextmanager
async def linked(url: str, told: Told, patience: float = 5.0) -> AsyncIterator[Link]:
    made = Link(url, "p", bytes, None, 1, told.lost, told.found, told.beaten)
    await made.start(patience)
    try:
        yield made
    finally:
        await made.close()


async def test_a_link_is_found_lost_and_found(own_redis: OwnRedis) -> None:
    told = Told()
    async with linked(own_redis.url, told) as made:
        assert made.reason == ""
        await own_redis.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: "lost" in told.words)
        await until(lambda: not made.reason)
    assert told.words == ["found", "lost", "found"]


async def test_another_redis_that_took_over_is_told_from_the_same(own_redis: OwnRedis) -> None:
    told = Told()
    async with linked(own_redis.url, told) as made:
        await own_redis.stop()
        await until(lambda: bool(made.reason))
        await own_redis.start()
        await until(lambda: not made.reason)
    assert told.words == ["found", "lost", "wiped"]


async def test_processes_are_counted_until_they_leave(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT", 0.01)
    told = Told()
    async with linked(own_redis.url, told) as first:
        async with linked(own_redis.url, Told()) as second:
            await until(lambda: first.processes == second.processes == 2)
        await until(lambda: first.processes == 1)
        assert "beaten" in told.words


async def test_a_redis_that_only_reads_is_not_used(own_redis: OwnRedis) -> None:
    told = Told()
    async with linked(own_redis.url, told) as made:
        wire = made.wire
        assert wire is not None
        await own_redis.command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(link.AWAY) as refused:
            await ask(wire, beat("p", b"x", 1000, b""))
        made.lose(refused.value, wire)
        assert made.reason.startswith("Redis refuses (READONLY")
        await asyncio.sleep(0.25)
        assert made.reason
        await own_redis.command("REPLICAOF", "NO", "ONE")
        await until(lambda: not made.reason)


async def test_silence_ends_a_connection(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "STUCK", 0.1)
    told = Told()
    async with linked(own_redis.url, told) as made:
        wire = made.wire
        assert wire is not None
        own_redis.hold_up()
        made.lose(TimeoutError(), wire)
        await until(lambda: wire.closed)
        own_redis.go_on()
        await until(lambda: not made.reason)
        made.lose("of a connection that is gone", wire)
        assert made.reason == ""


async def test_a_slow_beat_is_noticed_without_any_request(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT", 0.01)
    async with linked(own_redis.url, Told()) as made:
        own_redis.hold_up()
        await until(lambda: "longer than 50 ms" in made.reason)
        own_redis.go_on()
        await until(lambda: not made.reason)


async def test_a_client_without_leave_to_ask_for_the_run_id_serves_all_the_same(own_redis: OwnRedis) -> None:
    await own_redis.command("ACL", "SETUSER", "default", "-info")
    async with linked(own_redis.url, Told()) as made:
        assert made.reason == ""
    await own_redis.command("ACL", "SETUSER", "default", "+info")


async def test_the_node_of_a_cluster_that_holds_the_keys_is_followed(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = OwnRedis(folder)

    async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"-MOVED 866 127.0.0.1:%d\r\n" % own_redis.port)
        writer.close()

    server = await asyncio.start_server(moved, "127.0.0.1", other.port)
    try:
        async with linked(other.url, Told()) as made:
            assert made.reason == ""
    finally:
        server.close()
        await server.wait_closed()
