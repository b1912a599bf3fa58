"""What usage costs, in whole nano-dollars. Pure."""

from __future__ import annotations

from apipod_proxy.catalog.model import Price
from apipod_proxy.dialect.vocabulary import Usage


def cost(usage: Usage, price: Price | None) -> int | None:
    """Nano-dollars of ``usage``; None where no price is known, which differs from costing nothing.

    Every class is charged once. A class without a price of its own costs what it would as plain input or output.
    """
    if price is None:
        return None
    taken, read, written, output, reasoning, _ = usage
    nano = (taken or 0) * price.input + (output or 0) * price.output
    # Of most requests there is none of these.
    if read:
        nano += read * (price.input if price.cached_input is None else price.cached_input)
    if written:
        nano += written * (price.input if price.cache_write is None else price.cache_write)
    if reasoning:
        nano += reasoning * (price.output if price.reasoning is None else price.reasoning)
    return nano


def total(costs: list[int | None]) -> tuple[int, bool]:
    """The sum of what is priced, and whether something was not."""
    return sum(entry for entry in costs if entry is not None), any(entry is None for entry in costs)
