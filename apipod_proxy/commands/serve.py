"""``serve``: one process, or a parent and its workers."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from apipod_proxy.app import Launch, Server
from apipod_proxy.catalog.model import Snapshot
from apipod_proxy.cli import FAILED, INTERRUPTED, fail
from apipod_proxy.commands.common import facts, loaded
from apipod_proxy.edge.logs import LineWriter, set_up
from apipod_proxy.edge.loop import raise_descriptor_limit, settle_memory
from apipod_proxy.edge.loop import run as run_loop
from apipod_proxy.edge.notify import ServiceManager
from apipod_proxy.edge.run_folder import RunFolder
from apipod_proxy.edge.shutdown import Shutdown
from apipod_proxy.edge.workers import BEAT_SECONDS, Parent, Seat, reserve_port
from apipod_proxy.errors import ProxyError
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import apply_config
from apipod_proxy.settings import Loaded, Settings, SettingsError

log = logging.getLogger("apipod_proxy.serve")

RUN_FOLDER = "run"


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    given = loaded(arguments, environ)
    manager = ServiceManager(environ)
    if arguments.workers == 1:
        return serve(given, arguments.config, manager)
    return serve_many(given, arguments.config, manager, arguments.workers)


def serve(given: Loaded, config: Path | None, manager: ServiceManager, seat: Seat | None = None) -> int:
    """One serving process, until a signal ends it."""

    def say(server: Server, urls: list[str]) -> None:
        log.info("Serving.", extra={"urls": urls, "database": server.store.place})
        missing = missing_in(server.watcher.snapshot)
        if missing and (seat is None or seat.number == 0):
            log.warning(missing)

    async def main(lines: LineWriter) -> int:
        return await until_stopped(
            Launch(given.settings, given.environment, lines, seat, config), manager, say
        )

    return with_logs(given.settings, main)


def with_logs(settings: Settings, main: Callable[[LineWriter], Coroutine[Any, Any, int]]) -> int:
    """Run ``main`` on the server's loop, with logs as the settings say."""
    lines = LineWriter(sys.stderr.fileno())
    set_up(settings.log_level, settings.log_format, lines)
    raise_descriptor_limit()
    try:
        return run_loop(main(lines))
    finally:
        lines.close()


async def until_stopped(
    launch: Launch, manager: ServiceManager, say: Callable[[Server, list[str]], None]
) -> int:
    """Serve until a signal comes, then end in order. ``say`` is called once the port is open."""
    settings, seat = launch.settings, launch.seat
    async with Server(launch) as server:
        try:
            urls = await server.listen()
        except OSError as error:
            raise port_error(settings, error) from error
        shutdown = Shutdown(
            server.health,
            server.front,
            drain_seconds=settings.drain_seconds,
            grace_seconds=settings.shutdown_grace_seconds,
        )
        shutdown.listen(asyncio.get_running_loop(), alone=seat is None)
        settle_memory()
        say(server, urls)
        watch = asyncio.create_task(_watch(manager, seat, shutdown), name="watch")
        if seat is None:
            manager.ready(f"Serving on {', '.join(urls)}.")
        else:
            seat.ready()
        await shutdown.requested()
        if seat is None:
            manager.stopping()
        await shutdown.drain(server.stop_listening, server.gateway.interrupt)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    log.info("Stopped.")
    return 0


async def _watch(manager: ServiceManager, seat: Seat | None, shutdown: Shutdown) -> None:
    """Signs of life for the service manager; the end of a worker whose parent is gone."""
    if seat is not None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(seat.parent, gone.set)
        try:
            while not gone.is_set():
                seat.beat()
                try:
                    async with asyncio.timeout(BEAT_SECONDS):
                        await gone.wait()
                except TimeoutError:
                    continue
        finally:
            loop.remove_reader(seat.parent)
        log.error("The parent is gone.")
        shutdown.request()
    elif manager.watchdog_seconds is not None:
        while True:
            manager.alive()
            await asyncio.sleep(manager.watchdog_seconds / 3)


def serve_many(given: Loaded, config: Path | None, manager: ServiceManager, workers: int) -> int:
    """A parent that prepares once and supervises ``workers`` processes on one port."""
    settings = given.settings
    set_up(settings.log_level, settings.log_format)
    if settings.redis_url is None:
        raise OperatorMistake(
            f"--workers {workers} needs REDIS_URL: without a Redis every worker would allow the whole of each limit"
        )
    code = in_child(lambda: asyncio.run(_prepare(given, config)))
    if code:
        return code
    try:
        holders, port = reserve_port(settings.host, settings.port)
    except OSError as error:
        raise port_error(settings, error) from error
    try:
        folder = RunFolder(settings.data_dir / RUN_FOLDER)
    except OSError as error:
        raise OperatorMistake(
            f"DATA_DIR is '{settings.data_dir}': the folder in which workers meet cannot be made in it ({error.strerror})"
        ) from error
    shared = given._replace(settings=replace(settings, port=port))
    parent = Parent(
        workers,
        lambda seat: worker(shared, manager, seat),
        folder,
        manager,
        settings.drain_seconds + settings.shutdown_grace_seconds,
    )
    try:
        return parent.run()
    finally:
        for holder in holders:
            holder.close()


def worker(given: Loaded, manager: ServiceManager, seat: Seat) -> int:
    """The life of one worker; what keeps it from starting is one line."""
    try:
        return serve(given, None, manager, seat)
    except (OperatorMistake, ProxyError) as error:
        return fail(error)


async def _prepare(given: Loaded, config: Path | None) -> None:
    async with facts(given) as (store, vault):
        if config is not None:
            await apply_config(store, vault, config)


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own, so that this one stays without threads and loops; gives its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = FAILED
    try:
        work()
        code = 0
    except (OperatorMistake, SettingsError, ProxyError) as error:
        code = fail(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def missing_in(snapshot: Snapshot) -> str:
    """Why no request can be answered yet and what to do, "" if nothing is missing: a start without it looks like success."""
    if not snapshot.providers:
        return "There are no providers yet: name a catalog file (serve --config FILE, or apply FILE), or try `apipod-proxy demo`."
    if not any(key.active for key in snapshot.keys.values()):
        return "There are no client keys yet: make one (`apipod-proxy keys create NAME`), or give users keys in the catalog file."
    return ""


def port_error(settings: Settings, error: OSError) -> OperatorMistake:
    """Why the address cannot be listened on, and what to do."""
    address = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return OperatorMistake(
            f"{address} is taken by another program; choose another address with --addr or PORT"
        )
    return OperatorMistake(f"{address} cannot be listened on: {error.strerror or error}")
