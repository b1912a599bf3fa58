"""Settings: precedence, files of secrets, and the one line that a bad value stops the start with."""

from __future__ import annotations

import base64
import dataclasses
import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from apipod_proxy.settings import (
    SETTINGS,
    Settings,
    SettingsError,
    catalog_environment,
    load,
    parse_addr,
    parse_database_url,
)

KEY = base64.b64encode(bytes(range(32))).decode()


def test_every_row_of_the_table_is_an_attribute_with_the_default_it_prints() -> None:
    fields = {f.name for f in dataclasses.fields(Settings)}
    assert {setting.field for setting in SETTINGS} == fields
    printed = {setting.name: setting.default for setting in SETTINGS if setting.default}
    assert Settings.from_env(printed | {"DATABASE_URL": ""}) == Settings.from_env({}) == Settings()


def test_the_example_file_names_every_setting_once_with_its_default() -> None:
    text = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
    lines = [
        line.removeprefix("# ")
        for line in text.splitlines()
        if line.startswith("# ") and "=" in line.split(" ")[1]
    ]
    assert lines == [f"{setting.name}={setting.default}" for setting in SETTINGS]
    prose = text.replace("\n# ", " ")
    assert [setting.description for setting in SETTINGS if setting.description not in prose] == []


def test_the_command_line_wins_over_the_environment_which_wins_over_dotenv() -> None:
    levels = {"PORT": "1"}, {"PORT": "2", "HOST": "::1"}, {"PORT": "3", "HOST": "h", "LOG_FORMAT": "text"}
    settings = Settings.from_env(levels[1], levels[0], levels[2])
    assert (settings.port, settings.host, settings.log_format) == (1, "::1", "text")


def test_an_empty_value_means_the_default_and_hides_what_is_below() -> None:
    assert Settings.from_env({"REDIS_URL": ""}, dotenv={"REDIS_URL": "redis://h"}).redis_url is None


def test_values_are_read_into_their_types() -> None:
    settings = Settings.from_env(
        {
            "ENCRYPTION_KEY": KEY.rstrip("="),
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "CORS_ORIGINS": "https://a.example , http://localhost:3000",
            "LOG_LEVEL": "debug",
            "DRAIN_SECONDS": "2.5",
            "DATA_DIR": "/var/lib/proxy",
        }
    )
    assert settings.encryption_key == bytes(range(32))
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert (settings.log_level, settings.drain_seconds) == ("DEBUG", 2.5)
    assert settings.database.path == Path("/var/lib/proxy/proxy.db")


BAD = [
    (
        "USAGE_RETENTION_DAYS",
        "30",
        "USAGE_RETENTION_DAYS is '30' (environment); allowed: 0, or 32 to 36500 days (limits of a month are counted up from these rows)",
    ),
    ("PORT", "eighty", "PORT is 'eighty' (environment); allowed: a whole number from 0 to 65535"),
    ("PORT", "65536", "PORT is '65536' (environment); allowed: a whole number from 0 to 65535"),
    ("PING_SECONDS", "0", "PING_SECONDS is '0' (environment); allowed: seconds, more than 0 to 86400"),
    ("DRAIN_SECONDS", "nan", "DRAIN_SECONDS is 'nan' (environment); allowed: seconds, 0 to 86400"),
    ("PING_SECONDS", "1_0", "PING_SECONDS is '1_0' (environment); allowed: seconds, more than 0 to 86400"),
    *(
        (
            "REDIS_URL",
            url,
            "REDIS_URL is *** (environment); allowed: redis://[user:password@]host:6379/0, rediss://… or unix:///path",
        )
        for url in ("redis://h/first", "redis://h?db=-1", "unix:///run/redis?db=x")
    ),
    ("LOG_FORMAT", "xml", "LOG_FORMAT is 'xml' (environment); allowed: json | text"),
    (
        "HOST",
        "a b",
        "HOST is 'a b' (environment); allowed: a host name or an IP address, as 127.0.0.1, 0.0.0.0 or ::",
    ),
    (
        "ENCRYPTION_KEY",
        "c2hvcnQ=",
        "ENCRYPTION_KEY is *** (environment); allowed: 32 bytes in base64, as `openssl rand -base64 32` prints",
    ),
    (
        "REDIS_URL",
        "http://:secret@h",
        "REDIS_URL is *** (environment); allowed: redis://[user:password@]host:6379/0, rediss://… or unix:///path",
    ),
    (
        "DATABASE_URL",
        "mysql://root:secret@h/x",
        "DATABASE_URL is *** (environment); allowed: sqlite:///relative/path, sqlite:////absolute/path or "
        "postgresql://user:password@host:5432/name",
    ),
    (
        "TRUSTED_PROXIES",
        "10.0.0.0/99",
        "TRUSTED_PROXIES is '10.0.0.0/99' (environment); allowed: IP addresses and networks, comma-separated, as 10.0.0.0/8,127.0.0.1",
    ),
    (
        "CORS_ORIGINS",
        "example.com",
        "CORS_ORIGINS is 'example.com' (environment); allowed: * or origins, comma-separated, as "
        "https://app.example.com,http://localhost:3000",
    ),
    (
        "DATABASE_SCHEMA",
        'x"; drop',
        "DATABASE_SCHEMA is 'x\"; drop' (environment); allowed: a name of at most 63 lower-case letters, digits and underscores",
    ),
]


@pytest.mark.parametrize(("name", "value", "sentence"), BAD, ids=lambda v: v if str(v).isupper() else "")
def test_a_bad_value_is_one_line_that_names_setting_value_and_what_is_allowed(
    name: str, value: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/proxy.db", Path("data/proxy.db")),
        ("sqlite:////var/lib/x.db", Path("/var/lib/x.db")),
        ("sqlite:///a%20b.db", Path("a b.db")),
    ],
)
def test_sqlite_urls_have_three_slashes_for_relative_and_four_for_absolute_paths(
    url: str, path: Path
) -> None:
    assert parse_database_url(url) == (path, "")
    assert parse_database_url(url).is_sqlite


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h:5/d?sslmode=require", "postgres://u:p@h:5/d?sslmode=require"]
)
def test_postgresql_urls_keep_their_parameters(url: str) -> None:
    assert parse_database_url(url) == (None, "postgresql://u:p@h:5/d?sslmode=require")


def test_a_postgresql_url_may_name_several_hosts() -> None:
    assert parse_database_url("postgresql://u@a:1,b:2/d").dsn == "postgresql://u@a:1,b:2/d"


@pytest.mark.parametrize(
    "url",
    ["sqlite://x.db", "sqlite:///", "sqlite:///:memory:", "x.db", "postgresql://h:port/d", "postgresql:/h"],
)
def test_other_database_urls_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Settings.from_env({"DATABASE_URL": url})


def test_database_path_is_a_sqlite_url() -> None:
    assert Settings.from_env({"DATABASE_PATH": "x#1.db"}).database.path == Path("x#1.db")
    assert Settings.from_env({"DATABASE_PATH": "/abs/x.db"}).database.path == Path("/abs/x.db")
    dotenv = {"DATABASE_URL": "postgresql://h/d"}
    assert Settings.from_env({"DATABASE_PATH": "x.db"}, dotenv=dotenv).database.is_sqlite
    assert not Settings.from_env(dotenv, dotenv={"DATABASE_PATH": "x.db"}).database.is_sqlite
    with pytest.raises(SettingsError, match="only one of DATABASE_PATH and DATABASE_URL"):
        Settings.from_env({"DATABASE_PATH": "x.db", "DATABASE_URL": "postgresql://h/d"})


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    for setting in (setting for setting in SETTINGS if setting.secret):
        value = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h", "ENCRYPTION_KEY": KEY}.get(
            setting.name, "s3cret"
        )
        file = tmp_path / setting.name
        file.write_text(value + "\n", encoding="utf-8")
        from_file = Settings.from_env({f"{setting.name}_FILE": str(file)})
        assert from_file == Settings.from_env({setting.name: value}) != Settings()


def test_a_secret_from_two_places_or_from_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ADMIN_SECRET is \*\*\* \(environment\); allowed: only one of"):
        Settings.from_env({"ADMIN_SECRET": "x", "ADMIN_SECRET_FILE": "/y"})
    with pytest.raises(SettingsError, match=r"^ADMIN_SECRET_FILE is '/no/such' .*No such file"):
        Settings.from_env({"ADMIN_SECRET_FILE": "/no/such"})
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError, match="it is empty"):
        Settings.from_env({"ADMIN_SECRET_FILE": str(tmp_path / "empty")})


def test_secrets_are_not_in_the_representation() -> None:
    secret = {
        "ADMIN_SECRET": "s1",
        "METRICS_TOKEN": "s1",
        "REDIS_URL": "redis://:s1@h",
        "DATABASE_URL": "postgresql://u:s1@h/d",
    }
    assert "s1" not in repr(Settings.from_env(secret))


def test_dotenv_is_read_literally_and_unknown_names_are_warnings(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text(
        "# note\nexport PORT=9000\nADMIN_SECRET='a${HOME}b'\nLOG_LEVL=DEBUG\nOPENAI_API_KEY=sk-1\nALICE_KEY=k\nGROQ_API_KEY_2=g\n",
        encoding="utf-8",
    )
    loaded = load(
        {"ALICE_KEY": "from environment", "ENCRYPTION_KEY": KEY}, env_file=file, known={"ALICE_KEY"}
    )
    assert (loaded.settings.port, loaded.settings.admin_secret) == (9000, "a${HOME}b")
    assert loaded.warnings == [f"{file}: LOG_LEVL is no setting of this program; did you mean LOG_LEVEL?"]
    assert loaded.environment["OPENAI_API_KEY"] == "sk-1"
    assert loaded.environment["ALICE_KEY"] == "from environment"


@pytest.mark.parametrize("line", ['ENCRYPTION_KEY="s3cret', "PORT 80", "=80"])
def test_a_line_of_an_env_file_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "my.env"
    file.write_text(f"# note\nHOST=::1\n\n{line}\nLOG_LEVEL=INFO\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load({}, env_file=file)
    assert str(caught.value) == (
        f"line 4 is not readable ({file}); allowed: NAME=value, with the quotes around a value closed"
    )


def test_a_catalog_file_cannot_read_the_secrets_of_the_program() -> None:
    environ = {
        "ADMIN_SECRET": "x",
        "DATABASE_URL_FILE": "x",
        "ENCRYPTION_KEY": "x",
        "OPENAI_API_KEY": "y",
        "PORT": "1",
    }
    assert catalog_environment(environ) == {"OPENAI_API_KEY": "y", "PORT": "1"}


def test_an_env_file_that_is_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"--env-file is .* a file that exists"):
        load({}, env_file=tmp_path / "none.env")
    (tmp_path / "broken.env").write_bytes(b"PORT=\xff\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load({}, env_file=tmp_path / "broken.env")
    (tmp_path / "broken.env").write_text("PORT=eighty\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^PORT is 'eighty' \(.*broken\.env\); allowed: "):
        load({}, env_file=tmp_path / "broken.env")
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write("PORT=9\n")
    with os.fdopen(reading):
        assert load({}, env_file=Path(f"/dev/fd/{reading}")).settings.port == 9
    with pytest.raises(SettingsError, match="Is a directory"):
        load({}, env_file=tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load({}).settings == Settings()
    (tmp_path / ".env").write_text("PORT=7\n", encoding="utf-8")
    assert load({}).settings.port == 7


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", "80"), (":8080", "0.0.0.0", "8080"), ("[::1]:1", "::1", "1")],
)
def test_an_address_names_host_and_port(text: str, host: str, port: str) -> None:
    assert parse_addr(text) == {"HOST": host, "PORT": port}


@pytest.mark.parametrize("text", ["8080", "h:99999", "::1:80", "h:"])
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--addr"):
        parse_addr(text)
