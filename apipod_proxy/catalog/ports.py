"""What the catalog needs of a database: named statements inside transactions, and notice of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Row(Protocol):
    def __getitem__(self, place: int, /) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """One transaction."""

    async def fetch(self, name: str, /, **parameters: object) -> Sequence[Row]: ...

    async def fetch_one(self, name: str, /, **parameters: object) -> Row | None: ...

    async def execute(self, name: str, /, **parameters: object) -> None: ...

    async def execute_many(self, name: str, rows: Sequence[Mapping[str, object]], /) -> None: ...

    async def announce(self) -> None: ...


class Listener(Protocol):
    async def check(self) -> None:
        """Raises if the server no longer answers: a connection that died in silence tells of nothing, its end included."""

    async def close(self) -> None: ...


class Database(Protocol):
    @property
    def poll_seconds(self) -> float: ...

    def reading(self) -> AbstractAsyncContextManager[Session]: ...

    def writing(self) -> AbstractAsyncContextManager[Session]: ...

    async def listen(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> Listener | None: ...
