"""JSON Schema in the dialects that take only a part of it: Gemini's ``Schema`` objects, rewritten both ways.

Nothing is deleted silently. What ``Schema`` has a word for is said with it: references are inlined, ``const`` becomes ``enum``, lists of
types become ``nullable`` or ``anyOf``, ``oneOf`` becomes ``anyOf``, ``allOf`` is merged. What it has no word for is said as a sentence in
``description``, which the model reads.

The rules that shape the output, all met as 400s of the API: every node has a type, except one with ``anyOf``, which then holds nothing else;
``enum`` is for strings and has no empty value; an array has ``items``; ``format`` is one of a few; ``required`` names known properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apipod_proxy.dialect.schema_merge import Json, Node, described, merge, noted, sane, text_of

MAX_NODES = 20_000
"""A schema that grows beyond this when its references are inlined is refused: doubling definitions grow without end."""
MAX_DEPTH = 64
"""Deeper levels are given as text: the API takes no deeper nesting either."""

TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_SCALARS = frozenset(("string", "number", "integer", "boolean"))
FORMATS = {
    "STRING": frozenset({"date-time", "enum"}),
    "NUMBER": frozenset({"float", "double"}),
    "INTEGER": frozenset({"int32", "int64"}),
}
KEPT = (
    "title",
    "default",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "pattern",
    "propertyOrdering",
)
STRUCTURE = frozenset(
    {"$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "$dynamicAnchor", "$vocabulary"}
)
"""Members that only serve references and tools; they say nothing of a value."""
BASIC: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}
HINTS = (
    (
        "object",
        (
            "properties",
            "additionalProperties",
            "required",
            "patternProperties",
            "minProperties",
            "maxProperties",
            "propertyNames",
        ),
    ),
    ("array", ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains")),
    ("string", ("pattern", "minLength", "maxLength", "contentEncoding", "contentMediaType")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)
"""The type that a keyword tells where ``type`` is missing."""


class SchemaTooLarge(ValueError):
    """Inlining the references of a schema would make it endless."""


def to_gemini(schema: Json) -> Node:
    """Rewrite a JSON Schema as Gemini's ``Schema``; raises SchemaTooLarge."""
    return _Rewriter(schema).node(schema)


class _Rewriter:
    """One rewriting: the root that references point into, and what is being inlined now."""

    def __init__(self, root: Json) -> None:
        self.root = root
        self.inlining: list[str] = []
        self.nodes = 0
        self.depth = 0

    def node(self, schema: Json) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise SchemaTooLarge(
                f"the schema has more than {MAX_NODES} nodes once its references are inlined"
            )
        if schema is False:
            return {"type": "STRING", "nullable": True, "description": "Never present."}
        if not isinstance(schema, dict):
            return _any_value([])
        schema = sane(schema)
        if self.depth >= MAX_DEPTH:
            return {"type": "OBJECT", "description": "Nested deeper than can be described."}
        if len(schema) == 2 and (leaf := _leaf(schema)) is not None:
            return leaf
        self.depth += 1
        try:
            if "$ref" in schema or "$dynamicRef" in schema:
                return self._reference(schema)
            if "allOf" in schema:
                return self._all_of(schema)
            return self._plain(schema)
        finally:
            self.depth -= 1

    # References

    def _reference(self, schema: Node) -> Node:
        ref = schema.get("$ref", schema.get("$dynamicRef"))
        rest = {key: value for key, value in schema.items() if key not in ("$ref", "$dynamicRef")}
        target = self._resolve(ref)
        name = str(ref).rsplit("/", 1)[-1].lstrip("#") or "the whole schema"
        if target is None:
            return self.node(noted(rest, f"Defined by {ref}."))
        if ref in self.inlining:
            kind = target.get("type") if isinstance(target, dict) else None
            stub = {"type": kind if isinstance(kind, str) else "object"}
            return self.node(noted({**stub, **rest}, f"Recursive: again of the form '{name}'."))
        self.inlining.append(str(ref))
        try:
            return self.node(merge(target, rest) if set(rest) - STRUCTURE else target)
        finally:
            self.inlining.pop()

    def _resolve(self, ref: Json) -> Json:
        if not isinstance(ref, str) or not ref.startswith("#"):
            return None
        if ref == "#":
            return self.root
        if not ref.startswith("#/"):
            return _anchored(self.root, ref[1:])
        at: Json = self.root
        for escaped in ref[2:].split("/"):
            step = escaped.replace("%25", "%").replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict) and step in at:
                at = at[step]
            elif isinstance(at, list) and step.isdigit() and int(step) < len(at):
                at = at[int(step)]
            else:
                return None
        return at

    # Combination

    def _all_of(self, schema: Node) -> Node:
        merged: Json = {key: value for key, value in schema.items() if key != "allOf"}
        pushed = 0
        try:
            for given in schema["allOf"] if isinstance(schema["allOf"], list) else ():
                part = given
                while isinstance(part, dict) and "$ref" in part and part["$ref"] not in self.inlining:
                    target = self._resolve(part["$ref"])
                    if not isinstance(target, dict):
                        break
                    self.inlining.append(part["$ref"])
                    pushed += 1
                    part = merge(target, {key: value for key, value in part.items() if key != "$ref"})
                merged = merge(merged, part)
            return self.node(merged)
        finally:
            if pushed:
                del self.inlining[-pushed:]

    def _any_of(self, schema: Node, branches: list[Json], notes: list[str]) -> Node:
        """A choice: the null branch becomes ``nullable``, what stands beside it goes into each branch."""
        base = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        nulls = [branch for branch in branches if _is_null(branch)]
        rest = [branch for branch in branches if not _is_null(branch)]
        if not rest:
            return self._plain({**base, "type": "null"})
        outer = {
            key: value
            for key, value in base.items()
            if key not in ("description", "title", "default", *STRUCTURE)
        }
        if outer and not any(_has_form(branch) for branch in rest):
            what = text_of(rest)
            return self._plain(noted(base, *notes, f"In addition one of these must hold: {what}."))
        nodes = [self.node(merge(outer, branch) if outer else branch) for branch in rest]
        flat: list[Node] = []
        for node in nodes:
            flat += node["anyOf"] if set(node) == {"anyOf"} else [node]
        flat = [node for index, node in enumerate(flat) if node not in flat[:index]]
        if nulls:
            flat = [{**node, "nullable": True} for node in flat]
        about = noted({key: base[key] for key in ("description",) if key in base}, *notes).get("description")
        if "default" in base:
            about = f"{about or ''} Default: {text_of(base['default'])}.".strip()
        if isinstance(base.get("title"), str) and len(flat) == 1:
            flat = [{"title": base["title"], **flat[0]}]
        if about:
            own = flat[0].get("description")
            flat[0] = {**flat[0], "description": f"{about} {own}" if own and own != about else about}
        return flat[0] if len(flat) == 1 else {"anyOf": flat}

    # One node

    def _plain(self, schema: Node) -> Node:
        notes: list[str] = []
        for word in ("anyOf", "oneOf"):
            branches = schema.get(word)
            if isinstance(branches, list) and branches:
                other = schema.get("oneOf") if word == "anyOf" else None
                if other:
                    notes.append(f"Exactly one of these must hold too: {text_of(other)}.")
                return self._any_of(schema, branches, notes)
        if "const" in schema:
            schema = {
                **{key: value for key, value in schema.items() if key != "const"},
                "enum": [schema["const"]],
            }
        kinds, nullable = _kinds(schema)
        if len(kinds) > 1:
            base = {key: value for key, value in schema.items() if key != "type"}
            about: Node = {key: base.pop(key) for key in ("description", "title", "default") if key in base}
            types = [{**_only_for(base, kind), "type": kind} for kind in kinds] + (
                [{"type": "null"}] if nullable else []
            )
            return self._any_of({**about, "anyOf": types}, types, notes)
        if not kinds:
            if nullable:
                return {"type": "NULL", **described(schema, notes)}
            return _any_value(_notes_of(self, schema, "OBJECT"), schema)
        node: Node = {"type": kinds[0].upper()}
        if nullable:
            node["nullable"] = True
        for key in KEPT:
            if key in schema:
                node[key] = schema[key]
        _FILL.get(kinds[0], _fill_scalar)(self, schema, node, notes)
        notes += _notes_of(self, schema, node["type"])
        return {**node, **described(schema, notes)}


def _leaf(schema: Node) -> Node | None:
    """A scalar of which nothing but a description is said, as most members of tools are."""
    kind, about = schema.get("type"), schema.get("description")
    if isinstance(kind, str) and kind in _SCALARS and isinstance(about, str) and (about := about.strip()):
        return {"type": kind.upper(), "description": about}
    return None


def _any_value(notes: list[str], schema: Node | None = None) -> Node:
    """A value without a type: the types by name, because an untyped node is refused."""
    about = described(schema or {}, ["Any JSON value.", *notes])
    string: Node = {"type": "STRING", **about}
    return {
        "anyOf": [
            string,
            {"type": "NUMBER"},
            {"type": "BOOLEAN"},
            {"type": "OBJECT"},
            {"type": "ARRAY", "items": {"type": "STRING"}},
        ]
    }


def _is_null(branch: Json) -> bool:
    return isinstance(branch, dict) and (
        branch.get("type") == "null" or ("const" in branch and branch["const"] is None)
    )


def _has_form(branch: Json) -> bool:
    """Whether a branch says what a value is, beyond which members must be there."""
    return isinstance(branch, dict) and bool(
        set(branch) - {"required", "not", "description", "title", "dependentRequired"}
    )


def _kinds(schema: Node) -> tuple[list[str], bool]:
    """The JSON types that a node allows, without null, and whether null is allowed."""
    given = schema.get("type")
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, list) else []
    kinds = [name.lower() for name in names if isinstance(name, str) and name.lower() in TYPES]
    nullable = bool(schema.get("nullable"))
    values = schema.get("enum")
    if isinstance(values, list) and values:
        nullable = nullable or (None in values and (not kinds or "null" in kinds))
        if not kinds:
            kinds = list(dict.fromkeys(BASIC[type(value)] for value in values if value is not None))
            kinds = kinds or ["null"]
    if not kinds:
        kinds = [kind for kind, words in HINTS if any(word in schema for word in words)][:1]
    if "integer" in kinds and "number" in kinds:
        kinds.remove("integer")
    nullable = nullable or "null" in kinds
    return [kind for kind in dict.fromkeys(kinds) if kind != "null"], nullable


def _only_for(schema: Node, kind: str) -> Node:
    """The members of a node with several types that concern one of them."""
    foreign = {
        word
        for name, words in HINTS
        for word in words
        if name != kind and not (name == "number" and kind == "integer")
    }
    kept = {key: value for key, value in schema.items() if key not in foreign}
    if isinstance(kept.get("enum"), list):
        allowed = ("integer", "number") if kind == "number" else (kind,)
        kept["enum"] = [
            value for value in kept["enum"] if value is not None and BASIC[type(value)] in allowed
        ]
        if not kept["enum"]:
            kept.pop("enum")
    return kept


# What each type says of itself


def _fill_object(rewriter: _Rewriter, schema: Node, node: Node, notes: list[str]) -> None:
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties:
        node["properties"] = {str(name): rewriter.node(value) for name, value in properties.items()}
    known = node.get("properties", {})
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    if known_required := [name for name in dict.fromkeys(required) if name in known]:
        node["required"] = known_required
    if missing := [name for name in required if name not in known]:
        notes.append(f"Required members: {', '.join(missing)}.")
    more = schema.get("additionalProperties")
    if more is False:
        if known:
            notes.append("No other members are allowed.")
        else:
            node["properties"] = {}
    elif isinstance(more, dict) and more:
        notes.append(
            f"{'Further members' if known else 'Members of any name'}: {text_of(rewriter.node(more))}."
        )


def _fill_array(rewriter: _Rewriter, schema: Node, node: Node, notes: list[str]) -> None:
    items = schema.get("items")
    prefix = schema.get("prefixItems")
    if isinstance(items, list):
        prefix, items = items, schema.get("additionalItems", True)
    if not isinstance(prefix, list) or not prefix:
        node["items"] = rewriter.node(items if items is not None else {})
        return
    nodes = [rewriter.node(item) for item in prefix]
    notes.append(f"Elements in order: {text_of(nodes)}.")
    if items is False:
        node["maxItems"] = min(len(prefix), node.get("maxItems", len(prefix)))
    elif isinstance(items, dict):
        nodes.append(rewriter.node(items))
        notes.append(f"Further elements: {text_of(nodes[-1])}.")
    flat: list[Node] = []
    for each in nodes:
        flat += each.get("anyOf", [each])
    flat = [each for index, each in enumerate(flat) if each not in flat[:index]]
    node["items"] = flat[0] if len(flat) == 1 else {"anyOf": flat}


def _fill_scalar(rewriter: _Rewriter, schema: Node, node: Node, notes: list[str]) -> None:
    values = schema.get("enum")
    if isinstance(values, list):
        _fill_enum([value for value in values if value is not None], node, notes)
    form = schema.get("format")
    if isinstance(form, str) and form != "enum":
        if form in FORMATS.get(node["type"], ()):
            node["format"] = form
        else:
            notes.append(f"Format: {form}.")
    for word, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        limit = schema.get(word)
        if limit is True and bound in node:  # draft 4: a flag beside the bound
            limit = node.pop(bound)
        if isinstance(limit, (int, float)) and not isinstance(limit, bool):
            if node["type"] == "INTEGER" and isinstance(limit, int):
                tighter = max if step > 0 else min
                node[bound] = tighter(node.get(bound, limit + step), limit + step)
            else:
                node.setdefault(bound, limit)
                notes.append(f"{'Greater' if step > 0 else 'Less'} than {text_of(limit)}.")


def _fill_enum(values: list[Json], node: Node, notes: list[str]) -> None:
    if node["type"] == "STRING" and all(isinstance(value, str) for value in values):
        if filled := [value for value in values if value]:
            node["enum"] = filled
        if "" in values:
            notes.append("May be empty." if filled else "Always empty.")
        return
    if values and all(type(value) in (int, float) for value in values):
        node.setdefault("minimum", min(values))
        node.setdefault("maximum", max(values))
    if len(values) == 1:
        notes.append(f"Always {text_of(values[0])}.")
    elif values:
        notes.append(f"One of: {', '.join(text_of(value) for value in values)}.")


_FILL: Mapping[str, Callable[[_Rewriter, Node, Node, list[str]], None]] = {
    "object": _fill_object,
    "array": _fill_array,
}

_SENTENCES = (
    ("examples", "Examples: {}."),
    ("example", "Example: {}."),
    ("multipleOf", "A multiple of {}."),
    ("patternProperties", "Members whose name matches a pattern: {}."),
    ("propertyNames", "Names of members: {}."),
    ("dependentRequired", "Members that require others: {}."),
    ("dependentSchemas", "Members with consequences: {}."),
    ("dependencies", "Members that require others: {}."),
    ("contains", "Contains at least one: {}."),
    ("minContains", "At least so many of these: {}."),
    ("maxContains", "At most so many of these: {}."),
    ("contentMediaType", "Media type of the content: {}."),
    ("contentEncoding", "Encoding of the content: {}."),
    ("contentSchema", "The content: {}."),
    ("unevaluatedProperties", "Members that no other rule covers: {}."),
    ("unevaluatedItems", "Elements that no other rule covers: {}."),
    ("not", "Must not be: {}."),
    ("if", "If: {}"),
    ("then", "then: {}"),
    ("else", "else: {}"),
)


_WORDS = frozenset(word for word, _ in _SENTENCES)


def _notes_of(rewriter: _Rewriter, schema: Node, kind: str) -> list[str]:
    """Sentences for the keywords that ``Schema`` does not have."""
    notes = []
    if not _WORDS.isdisjoint(schema):
        notes = [
            sentence.format(_said(rewriter, schema[word])) for word, sentence in _SENTENCES if word in schema
        ]
    if schema.get("uniqueItems") is True:
        notes.append("All elements differ.")
    if "default" in schema:
        notes.append(f"Default: {text_of(schema['default'])}.")
    if schema.get("deprecated") is True:
        notes.append("Deprecated.")
    if kind in ("OBJECT", "ARRAY") and isinstance(schema.get("enum"), list):
        notes.append(f"One of: {', '.join(text_of(value) for value in schema['enum'])}.")
    return notes


def _said(rewriter: _Rewriter, value: Json) -> str:
    """A keyword's value as text, references in it inlined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(not isinstance(item, (dict, list)) for item in value):
        return ", ".join(text_of(item) for item in value)
    if isinstance(value, dict) and "$ref" in text_of(value):
        return text_of(rewriter.node(value))
    return text_of(value)


def _anchored(schema: Json, name: str, depth: int = 0) -> Json:
    """The subschema whose ``$anchor`` is ``name``."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(schema, dict):
        if schema.get("$anchor") == name or schema.get("$dynamicAnchor") == name:
            return schema
        children = list(schema.values())
    else:
        children = schema if isinstance(schema, list) else []
    for child in children:
        if (found := _anchored(child, name, depth + 1)) is not None:
            return found
    return None


# Back


_GEMINI_TYPES = {1: "string", 2: "number", 3: "integer", 4: "boolean", 5: "array", 6: "object", 7: "null"}
"""The numbers of the API's ``Type`` enum, which some clients send."""
_BACK = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
    "defs": "$defs",
    "ref": "$ref",
}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def from_gemini(schema: Json) -> Json:
    """Rewrite a Gemini ``Schema`` (either spelling of its fields, types in any case or as numbers) as JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    out: Node = {}
    for given, value in schema.items():
        key = _BACK.get(str(given), str(given))
        if value is None and key != "default":
            continue
        if key == "type":
            out[key] = _GEMINI_TYPES.get(value, value) if isinstance(value, int) else _lower(value)
        elif key in ("properties", "$defs") and isinstance(value, dict):
            out[key] = {name: from_gemini(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties"):
            out[key] = from_gemini(value)
        elif key == "anyOf" and isinstance(value, list):
            out[key] = [from_gemini(child) for child in value]
        elif key in _COUNTS and isinstance(value, str) and value.isdigit():
            out[key] = int(value)
        else:
            out[key] = value
    return _settled(out)


def _lower(value: Json) -> Json:
    if isinstance(value, list):
        return [_lower(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def _settled(out: Node) -> Node:
    """Say in JSON Schema's words what is left in Gemini's: nullable, example, the order of properties, the format of an enum."""
    if out.pop("nullable", None):
        if isinstance(out.get("type"), str):
            out["type"] = [out["type"], "null"]
            if isinstance(out.get("enum"), list):
                out["enum"] = [*out["enum"], None]
        elif isinstance(out.get("anyOf"), list):
            out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    if out.get("format") == "enum":
        del out["format"]
    if "example" in out:
        out["examples"] = [out.pop("example")]
    order = out.pop("propertyOrdering", None)
    properties = out.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        named = [name for name in order if isinstance(name, str) and name in properties]
        out["properties"] = {
            name: properties[name] for name in [*named, *(name for name in properties if name not in named)]
        }
    return out
