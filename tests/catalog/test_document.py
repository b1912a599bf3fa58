"""What a catalog file says, and the line for each thing that is wrong with it."""

from __future__ import annotations

import hashlib
import random

import pytest

from apipod_proxy.catalog.document import MODEL, CatalogMistakes
from apipod_proxy.catalog.model import Limit, Source
from tests.catalog.cases import ENVIRONMENT, FULL, make_vault, read

DIGEST = hashlib.sha256(b"some-client-key").hexdigest()


def lines(text: str) -> list[str]:
    with pytest.raises(CatalogMistakes) as caught:
        read(text)
    assert str(caught.value) == "\n".join(caught.value.lines)
    prefix = "catalog.yaml: "
    assert all(line.startswith(prefix) for line in caught.value.lines)
    return [line.removeprefix(prefix) for line in caught.value.lines]


def test_the_full_example_has_no_mistake() -> None:
    document = read(FULL)
    assert document.limits == {"concurrency": Limit(5000, 5000)}
    assert (len(document.providers), len(document.models), len(document.users), len(document.keys)) == (
        2,
        4,
        2,
        2,
    )


def test_an_empty_file_is_an_empty_catalog() -> None:
    document = read("")
    assert not any(
        [
            document.providers,
            document.models,
            document.subscriptions,
            document.users,
            document.keys,
            document.limits,
        ]
    )


def test_numbers_come_from_the_environment_too() -> None:
    text = "providers: {p: {type: openai}}\nmodels: {m: {provider: p, limits: {rpm: '${RPM}'}}}"
    assert read(text).models["m"].limits == {"rpm": Limit(60, 60)}


def test_a_provider_without_a_key_has_one_account_without_a_key() -> None:
    (account,) = read("providers: {p: {type: openai}}").providers["p"].accounts
    assert (account.name, account.api_key, account.origin) == ("default", "", "")
    assert read("providers: {p: {type: openai, accounts: []}}").providers["p"].accounts == ()


def test_accounts_without_a_name_are_numbered() -> None:
    accounts = (
        read("providers: {p: {type: openai, accounts: [{api_key: a}, {api_key: b}]}}").providers["p"].accounts
    )
    assert [account.name for account in accounts] == ["default", "default-2"]


def test_only_a_bare_name_is_kept_as_the_origin_of_a_key() -> None:
    template = "providers: {p: {type: openai, api_key: '%s'}}"

    def key(text: str) -> tuple[str, str]:
        (account,) = read(template % text).providers["p"].accounts
        return account.api_key, account.origin

    assert key("${KEY_A}") == ("key-a", "${KEY_A}")
    assert key("${KEY_A:-sk-default}") == ("key-a", "${KEY_A}")
    assert key("${NONE:-sk-default}") == ("sk-default", "")
    assert key("sk-${KEY_A}") == ("sk-key-a", "")
    assert key("$${KEY_A}") == ("${KEY_A}", "")


def test_an_account_whose_key_is_not_set_is_left_to_whoever_knows_the_database() -> None:
    document = read("providers: {p: {type: openai, api_key: '${NONE}'}}")
    assert document.unset == {
        (
            "p",
            "default",
        ): "providers.p.api_key: ${NONE} is not set in the environment; allowed: setting it, or ${NONE:-default}"
    }


def test_an_encrypted_key_is_read_with_the_key_that_encrypted_it() -> None:
    sealed = make_vault().encrypt("sk-1")
    assert (
        read(f"providers: {{p: {{type: openai, api_key: '{sealed}'}}}}").providers["p"].accounts[0].api_key
        == "sk-1"
    )
    other = make_vault(key=b"o" * 32).encrypt("sk-1")
    assert lines(f"providers: {{p: {{type: openai, api_key: '{other}'}}}}") == [
        "providers.p.api_key: found an encrypted key, but it was not encrypted with this ENCRYPTION_KEY; allowed: the key, or ${NAME}"
    ]


def test_a_client_key_is_kept_as_a_digest_only() -> None:
    text = f"users: {{u: {{subscription: s, keys: [some-client-key, {{sha256: '{DIGEST[::-1]}', prefix: 'abc', source: admin}}]}}}}"
    plain, given = read(text).keys.values()
    assert (plain.digest.hex(), plain.prefix, plain.name, plain.source) == (
        DIGEST,
        "some-cl",
        "key-1",
        Source.FILE,
    )
    assert (given.digest.hex(), given.prefix, given.name, given.source) == (
        DIGEST[::-1],
        "abc",
        "key-2",
        Source.ADMIN,
    )
    assert "some-client-key" not in repr(read(text))


def test_any_type_is_taken_where_the_types_are_not_known() -> None:
    assert read("providers: {p: {type: future}}", types=None).providers["p"].type == "future"


BASE = "providers: {p: {type: openai}}\nmodels: {m: {provider: p}}\n"

MISTAKES = [
    (
        "provider: {}",
        "provider: unknown field; did you mean 'providers'? allowed: limits, providers, models, subscriptions, users",
    ),
    ("[]", "found a list; allowed: a table with limits, providers, models, subscriptions, users"),
    ("a: [", "line 2: did not find expected node content"),
    (
        "models: {m: 5}",
        f"models.m: found 5; allowed: a table with {', '.join(MODEL)}",
    ),
    (
        "providers: {p: {}}",
        "providers.p.type: found nothing; allowed: openai, antigravity, openai_compatible",
    ),
    (
        "providers: {p: {type: opena}}",
        "providers.p.type: found 'opena'; did you mean 'openai'? allowed: openai, antigravity, openai_compatible",
    ),
    (
        "providers: {p: {type: openai_compatible}}",
        "providers.p.base_url: found nothing; allowed: a URL (the type openai_compatible has none of its own)",
    ),
    (
        "providers: {p: {type: openai, base_url: 'ftp://h'}}",
        "providers.p.base_url: found 'ftp://h'; allowed: http(s)://host[:port][/path]",
    ),
    (
        "providers: {p: {type: openai, base_url: 'http://h:x'}}",
        "providers.p.base_url: found 'http://h:x'; allowed: http(s)://host[:port][/path]",
    ),
    (
        "providers: {p: {type: openai, base_url: ${OPENAI_API_KEY}}}",
        "providers.p.base_url: found '${OPENAI_API_KEY}'; allowed: http(s)://host[:port][/path]",
    ),
    (
        "providers: {p: {type: openai, base_url: 'http://u:s3cret@h'}}",
        "providers.p.base_url: found a URL with a user or password; allowed: the key as api_key",
    ),
    *(
        (
            f"providers: {{p: {{type: openai, base_url: '{url}'}}}}",
            f"providers.p.base_url: found '{url}'; allowed: http(s)://host[:port][/path]",
        )
        for url in ("http://a..b/v1", "http://h:0/v1")
    ),
    *(
        (
            f"providers: {{p: {{type: openai, base_url: '{url}'}}}}",
            f"providers.p.base_url: found '{url}'; allowed: ASCII (a host as xn--…, a path percent-encoded)",
        )
        for url in ("http://пример.рф/v1", "http://h/日本")
    ),
    (
        "providers: {p: {type: openai, base_url: 'http://h/{account_id}/{model}'}}",
        "providers.p.options: found no 'account_id'; allowed: one, for the URL http://h/{account_id}/{model}",
    ),
    (
        "providers: {p: {type: openai, base_url: 'https://h/v1/chat/completions/'}}",
        "providers.p.base_url: found 'https://h/v1/chat/completions'; allowed: what stands before /chat/completions",
    ),
    (
        f"providers: {{p: {{type: openai, accounts: [{{name: {'x' * 251}}}]}}}}",
        f"providers.p.accounts[0].name: found '{'x' * 60}'; allowed: 1 to 250 printable characters, no blanks around them",
    ),
    (
        "users: {u: {subscription: s, keys: [{key: k, name: ' a'}]}}",
        "users.u.keys[0].name: found ' a'; allowed: 1 to 250 printable characters, no blanks around them",
    ),
    (
        "providers: {p: {type: openai, api_key: sk-ключ}}",
        "providers.p.api_key: found a text that is not shown; allowed: characters of Latin-1, which is what a header takes",
    ),
    (
        "providers: {p: {type: openai, headers: {x-team: команда}}}",
        "providers.p.headers: the value of x-team holds something else; allowed: characters of Latin-1, which is what a header takes",
    ),
    ("providers: {a/b: {type: openai}}", "providers[\"a/b\"]: a provider's name holds no '/'"),
    (
        "providers: {p: {type: openai, api_key: a, accounts: [{api_key: b}]}}",
        "providers.p.api_key: found beside accounts; allowed: one of both",
    ),
    (
        "providers: {p: {type: openai, accounts: [{name: a}, {name: a}]}}",
        "providers.p.accounts[1].name: found 'a' again; allowed: each name once",
    ),
    (
        "providers: {p: {type: openai, accounts: [{name: a/b}]}}",
        "providers.p.accounts[0].name: found 'a/b'; allowed: a name without '/'",
    ),
    (
        "providers: {p: {type: openai, timeouts: {total: 5}}}",
        "providers.p.timeouts.total: unknown field; allowed: connect, first_byte, idle",
    ),
    (
        "providers: {p: {type: openai, timeouts: {idle: 0}}}",
        "providers.p.timeouts.idle: found 0; allowed: a number above 0 up to 86400",
    ),
    (
        "providers: {p: {type: openai, retries: {attempts: 0}}}",
        "providers.p.retries.attempts: found 0; allowed: a whole number from 1 to 100",
    ),
    (
        "providers: {p: {type: openai, headers: {Host: x}}}",
        "providers.p.headers: found 'Host'; allowed: names of headers, but accept, accept-encoding, connection, content-length,"
        " content-type, host, te, trailer, transfer-encoding, upgrade",
    ),
    ("models: {m: {}}", "models.m.provider: found nothing; allowed: the name of a provider"),
    (
        "models: {'m*': {provider: p}}",
        "models[\"m*\"]: a model's name holds no '*'; stars stand in the routes of a subscription",
    ),
    (
        "models: {m: {provider: p, capabilities: [fly]}}",
        "models.m.capabilities[0]: found 'fly'; allowed: tools, vision, audio, documents, thinking, structured_output, streaming",
    ),
    (
        "models: {m: {provider: p, price: {input: 1}}}",
        "models.m.price.output: found nothing; allowed: USD per million tokens",
    ),
    (
        "subscriptions: {s: {routes: {x: {strategy: fastest, targets: [m]}}}}",
        "subscriptions.s.routes.x.strategy: found 'fastest'; allowed: weighted, priority, even, latency, cost",
    ),
    (
        "subscriptions: {s: {routes: {x: {}}}}",
        "subscriptions.s.routes.x.targets: found none; allowed: at least one ('*' alone may have none: every model by its own name)",
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: m}}}}",
        "subscriptions.s.routes.x.targets: found m; allowed: a list",
    ),
    (
        "subscriptions: {s: {routes: {a*b: {targets: [m]}}}}",
        'subscriptions.s.routes["a*b"]: a star stands at the end of a requested name, nowhere else',
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: [{}]}}}}",
        "subscriptions.s.routes.x.targets[0].model: found neither; allowed: model or provider",
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: [{model: m, provider: p}]}}}}",
        "subscriptions.s.routes.x.targets[0].model: found both; allowed: model or provider",
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: [m, '${NONE:-}']}}}}",
        "subscriptions.s.routes.x.targets[1].model: found an empty text; allowed: the name of a model",
    ),
    (
        "subscriptions: {s: {routes: {x/*: {targets: [{provider: ''}]}}}}",
        'subscriptions.s.routes["x/*"].targets[0].provider: found an empty text; allowed: the name of a provider',
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: [{provider: p}]}}}}",
        "subscriptions.s.routes.x.targets[0].provider: takes what a star stands for, and the requested name has none; allowed: model",
    ),
    (
        "subscriptions: {s: {routes: {x: {targets: [{model: m, weight: -1}]}}}}",
        "subscriptions.s.routes.x.targets[0].weight: found -1; allowed: a number from 0 to 1e+09",
    ),
    ("users: {u: {}}", "users.u.subscription: found nothing; allowed: the name of a subscription"),
    ("users: {u: {subscription: s, role: owner}}", "users.u.role: found 'owner'; allowed: member, admin"),
    (
        "users: {u: {subscription: s, keys: [{name: x}]}}",
        "users.u.keys[0].key: found neither; allowed: key or sha256",
    ),
    (
        f"users: {{u: {{subscription: s, keys: [{{key: x, sha256: '{DIGEST}'}}]}}}}",
        "users.u.keys[0].key: found both; allowed: key or sha256",
    ),
    (
        "users: {u: {subscription: s, keys: [{sha256: 'abc'}]}}",
        "users.u.keys[0].sha256: allowed: the 64 hexadecimal digits of the key's SHA-256",
    ),
    (
        "users: {u: {subscription: s, keys: [{key: abcdef, prefix: ab}]}}",
        "users.u.keys[0].prefix: follows from the key; allowed: beside sha256",
    ),
    (
        "users: {u: {subscription: s, keys: [{key: ''}]}}",
        "users.u.keys[0].key: found an empty text; allowed: the client's key",
    ),
    (
        "users: {u: {subscription: s, keys: [{key: '${NONE}'}]}}",
        "users.u.keys[0].key: ${NONE} is not set in the environment; allowed: setting it, or ${NONE:-default}",
    ),
    (
        "users: {u: {subscription: s, keys: [{key: k, name: a}, k]}}",
        "users.u.keys[1]: the same key as 'a' of this user; allowed: each key once",
    ),
    (
        "users: {t: {subscription: s, keys: [{key: k, name: a}]}, u: {subscription: s, keys: [k]}}",
        "users.u.keys[0]: the same key as 'a' of the user 't'; allowed: each key once",
    ),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[line[:50] for _, line in MISTAKES])
def test_a_mistake_is_one_line_with_path_found_and_allowed(text: str, line: str) -> None:
    assert lines(text) == [line]


def test_all_mistakes_are_told_at_once() -> None:
    text = "limits: {rmp: 1}\nmodels: {m: {provder: p}}\nusers: {u: {subscripton: s}}"
    assert [line.split(":")[0] for line in lines(text)] == [
        "limits.rmp",
        "models.m.provder",
        "models.m.provider",
        "users.u.subscripton",
        "users.u.subscription",
    ]


def test_no_mistake_shows_a_secret() -> None:
    for text in (
        'providers: {p: {type: openai, api_key: ["sk-s3cret"]}}',
        'providers: {p: {type: openai, api_key: "sk-s3cret\\n"}}',
        'users: {u: {subscription: s, keys: [{key: "sk-s3cret\\n"}]}}',
        "users: {u: {subscription: s, keys: [{key: {sk-s3cret: 1}}]}}",
        "users: {u: {subscription: s, keys: sk-s3cret}}",
        "providers: {p: {type: openai, accounts: sk-s3cret}}",
        "providers: {p: {type: openai, accounts: [sk-s3cret]}}",
        "providers: {p: {type: openai, headers: 'x-key: sk-s3cret'}}",
        'providers: {p: {type: openai, headers: {x-key: "s3cret\\n"}}}',
    ):
        assert "s3cret" not in "".join(lines(text))
    assert "sk-openai" not in repr(read(FULL))
    assert ENVIRONMENT["ALICE_KEY"] not in repr(read(FULL))


def test_a_key_in_the_environment_cannot_smuggle_a_header() -> None:
    text = "providers: {p: {type: openai, api_key: '${K}'}}"
    for value in ("a\r\nx: y", "a\x00", "a\udc80"):
        with pytest.raises(CatalogMistakes) as caught:
            read(text, make_vault({"K": value}))
        assert caught.value.lines == [
            "catalog.yaml: providers.p.api_key: ${K} holds something else; allowed: a text of one line without control characters"
        ]
    assert read(text, make_vault({"K": " sk-1\n"})).providers["p"].accounts[0].api_key == "sk-1"
    with pytest.raises(
        CatalogMistakes, match=r"\$\{K\} holds something else; allowed: characters of Latin-1"
    ):
        read(text, make_vault({"K": "sk-ключ"}))


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!x ",
    "'",
    '"',
    "|\n",
    "? ",
    "\n",
    "  ",
    "${",
    "~",
    "null",
    "-1",
]
PIECES += [
    "1e999",
    "9" * 400,
    "\t",
    "#",
    "%",
    "---\n",
    "@",
    "\u2028",
    "\ufeff",
    "\x00",
    "\ud800",
    ".inf",
    "true",
]


def test_a_damaged_file_is_read_or_refused_in_lines_and_nothing_else() -> None:
    draw = random.Random(20)
    for _ in range(400):
        text = FULL
        for _ in range(draw.randrange(1, 5)):
            place, length = draw.randrange(len(text)), draw.randrange(30)
            text = (
                text[:place]
                + draw.choice([*PIECES, text[length : 2 * length]])
                + text[place + length * draw.randrange(2) :]
            )
        try:
            read(text)
        except CatalogMistakes as refused:
            assert refused.lines
            assert all(line.startswith("catalog.yaml: ") and "\n" not in line for line in refused.lines)


TRAPS = [
    *(
        "169.254.169.254",
        "169.254.0.1",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "0xA9.254.169.0376",
    ),
    *(
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "99999999999",
    ),
]
HOSTS = [
    "127.0.0.1",
    "10.0.0.8",
    "localhost",
    "[::1]",
    "vllm",
    "192.168.1.5:8000",
    "1.2.3.4",
    "2130706433",
    "api.openai.com",
    "0",
]


@pytest.mark.parametrize("host", TRAPS)
def test_a_provider_cannot_be_the_metadata_service_of_the_machine(host: str) -> None:
    (line,) = lines(f"providers: {{p: {{type: openai, base_url: 'http://{host}/v1'}}}}")
    assert line.startswith("providers.p.base_url: ")


@pytest.mark.parametrize("host", HOSTS)
def test_a_provider_may_be_on_a_private_network(host: str) -> None:
    assert (
        read(f"providers: {{p: {{type: openai, base_url: 'http://{host}/v1'}}}}").providers["p"].base_url
        == f"http://{host}/v1"
    )
