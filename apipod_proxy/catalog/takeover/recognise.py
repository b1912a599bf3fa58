"""Whose configuration a file is, told by what it holds."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from apipod_proxy.catalog.document import CatalogMistakes
from apipod_proxy.catalog.takeover import ai_proxy, api_router
from apipod_proxy.catalog.takeover.builder import NothingToTake, Taken
from apipod_proxy.catalog.yaml_file import YamlMistake, parse_yaml


def take_file(
    text: str,
    name: str,
    credentials: str | None,
    types: Mapping[str, str],
    environment: Mapping[str, str],
) -> Taken | None:
    """The catalog of another gateway's file; None where it is none of them. Raises CatalogMistakes.

    ``credentials`` is the text of the credentials.json beside it, ``types`` the provider types there are with their default base URLs.
    """
    try:
        node = _parse(text)
        entries = node.get("models") if isinstance(node, dict) else node
        if not isinstance(entries, list):
            return None
        if _is_credentials(entries):
            raise NothingToTake("holds keys alone; apply the models.json that it stands beside")
        if isinstance(node, dict) and not _is_router(node, entries):
            return ai_proxy.take(entries, f"ai-proxy's configuration {name}", types, environment)
        return api_router.take(node, f"the API router's {name}", credentials, types, environment)
    except YamlMistake:
        # Said where the file is read as a catalog, with its line.
        return None
    except NothingToTake as reason:
        raise CatalogMistakes([f"{name}: {reason.problem}"]) from reason


def _parse(text: str) -> object:
    """JSON where it is that (it may be indented with tabs, which YAML does not allow), else YAML."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # YAML's own lists and tables look like that, too
    return parse_yaml(text)


def _is_router(node: Mapping[str, object], entries: list[object]) -> bool:
    return "vendors" in node or any(isinstance(entry, dict) and "vendor" in entry for entry in entries)


def _is_credentials(entries: list[object]) -> bool:
    return any(
        isinstance(entry, dict) and "platform" in entry and "model" not in entry and "name" not in entry
        for entry in entries
    )
