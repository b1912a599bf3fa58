"""PostgreSQL URLs."""

from __future__ import annotations

import pytest

from apipod_proxy.store.dsn import CONNECT_SECONDS, connect_arguments, shown


@pytest.mark.parametrize(
    ("url", "dsn", "timeout", "cache"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d", CONNECT_SECONDS, 100),
        (
            "postgresql://u:p@h/d?connect_timeout=10&sslmode=require",
            "postgresql://u:p@h/d?sslmode=require",
            10,
            100,
        ),
        ("postgresql://u:p@h/d?connect_timeout=0", "postgresql://u:p@h/d", 60, 100),
        (
            "postgresql://u@a:1,b:2/d?target_session_attrs=read-write",
            "postgresql://u@a:1,b:2/d?target_session_attrs=read-write",
            5,
            100,
        ),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=%2Frun%2Fpostgresql", 5, 100),
        ("postgresql://h/d?statement_cache_size=0&keepalives=1&gssencmode=disable", "postgresql://h/d", 5, 0),
    ],
)
def test_parameters_go_where_the_driver_takes_them(url: str, dsn: str, timeout: float, cache: int) -> None:
    named = f"{dsn}{'&' if '?' in dsn else '?'}application_name=apipod-proxy"
    assert connect_arguments(url) == (named, timeout, cache)
    assert connect_arguments(f"{url}{'&' if '?' in url else '?'}application_name=mine").dsn == named.replace(
        "apipod-proxy", "mine"
    )


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="connect_timeout is 'soon'; allowed: a whole number"):
        connect_arguments("postgresql://h/d?connect_timeout=soon")


def test_what_is_shown_of_a_url_holds_no_secret() -> None:
    assert shown("postgresql://me:s3cret@h:5432/d?password=s3cret") == "postgresql://me@h:5432/d"
    assert shown("postgresql://h/d") == "postgresql://h/d"
