from __future__ import annotations

from apipod_proxy.catalog.model import Price
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.prices import cost, total

USAGE = Usage(input=1000, cache_read=2000, cache_write=300, output=400, reasoning=50)


def test_every_class_is_charged_once_at_its_own_price() -> None:
    price = Price(input=2500, output=10_000, cached_input=1250, cache_write=3125, reasoning=9000)
    assert cost(USAGE, price) == 1000 * 2500 + 2000 * 1250 + 300 * 3125 + 400 * 10_000 + 50 * 9000


def test_a_class_without_a_price_costs_what_plain_input_or_output_does() -> None:
    assert cost(USAGE, Price(2, 3)) == (1000 + 2000 + 300) * 2 + (400 + 50) * 3


def test_a_price_of_zero_is_a_price() -> None:
    assert cost(USAGE, Price(2, 3, cached_input=0, reasoning=0)) == (1000 + 300) * 2 + 400 * 3
    assert cost(USAGE, Price(0, 0)) == 0


def test_no_price_differs_from_costing_nothing() -> None:
    assert cost(USAGE, None) is None


def test_what_was_not_reported_costs_nothing() -> None:
    assert cost(Usage(), Price(2, 3)) == 0


def test_a_sum_says_whether_something_in_it_had_no_price() -> None:
    assert total([1, 2]) == (3, False)
    assert total([1, None]) == (1, True)
    assert total([]) == (0, False)
