"""What a model can do, and what a request needs. A model that nothing is known of is taken to be able to do everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from apipod_proxy.catalog.model import Model
from apipod_proxy.errors import MissingCapability
from apipod_proxy.route.families import family_of

TOOLS = 1
VISION = 2
AUDIO = 4
DOCUMENTS = 8
THINKING = 16
STRUCTURED_OUTPUT = 32
STREAMING = 64
EVERYTHING = 127

BITS = {
    "tools": TOOLS,
    "vision": VISION,
    "audio": AUDIO,
    "documents": DOCUMENTS,
    "thinking": THINKING,
    "structured_output": STRUCTURED_OUTPUT,
    "streaming": STREAMING,
}
"""The names that a catalog may use, in the order in which a refusal lists them."""

WORDS = {
    TOOLS: "tool calling",
    VISION: "vision",
    AUDIO: "audio input",
    DOCUMENTS: "document input",
    THINKING: "thinking",
    STRUCTURED_OUTPUT: "structured output",
    STREAMING: "streaming",
}

# Asking for it is a tuning knob, which a model without it may ignore: such models come last, but are no refusal.
PREFERENCES = THINKING

# Attachments come as base64, whose length says nothing of the tokens that a model makes of them.
MEDIA = VISION | AUDIO | DOCUMENTS


class Needs(NamedTuple):
    """What a request needs: bits of this module, and token counts for its size, the input's estimated from its length.

    ``output_tokens`` is what the answer may take; it orders by cost and never filters.
    """

    mask: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


NO_NEEDS = Needs()


class Ability(NamedTuple):
    """What a model can do; None where a size is not known."""

    mask: int
    context_window: int | None
    max_output: int | None
    thinks: bool | None = None
    """As the catalog or the table says, None where nobody does."""

    def lacks(self, needs: Needs) -> int:
        """The bits of ``needs`` that are missing, sizes aside."""
        return needs.mask & ~self.mask

    def holds(self, tokens: int) -> bool:
        """Whether an input of ``tokens`` fits."""
        return self.context_window is None or tokens <= self.context_window

    def serves(self, needs: Needs) -> bool:
        """Whether nothing is missing that cannot be done without, as far as an estimate can tell."""
        return not needs.mask & ~self.mask & ~PREFERENCES and (
            bool(needs.mask & MEDIA) or self.holds(needs.input_tokens)
        )

    def may_serve(self, needs: Needs) -> bool:
        """As ``serves``, with an input that may be half as long as estimated: text of long words or much white space is."""
        return self.serves(needs._replace(input_tokens=needs.input_tokens // 2))


def ability_of(model: Model) -> Ability:
    """What ``model`` can do: as the catalog says, else as the table of families says, else everything."""
    family = family_of(model.upstream_model)
    if model.capabilities is not None:
        # A list of abilities is about content; a model that cannot stream is the exception and known by its family.
        mask = mask_of(model.capabilities) | STREAMING
        thinks = True if THINKING & mask else None
    elif family is not None:
        mask = EVERYTHING & ~mask_of(family.lacks)
        thinks = None if THINKING & mask else False
    else:
        mask, thinks = EVERYTHING, None
    context = model.context_window or (family.context_window if family else None)
    output = model.max_output or (family.max_output if family else None)
    return Ability(mask, context, output, thinks)


def mask_of(names: Iterable[str]) -> int:
    """The bits of ``names``; names that are none of BITS count nothing."""
    mask = 0
    for name in names:
        mask |= BITS.get(name, 0)
    return mask


def names_of(mask: int) -> list[str]:
    """The catalog's names of the bits in ``mask``."""
    return [name for name, bit in BITS.items() if mask & bit]


def missing(model: str, needs: Needs, abilities: Iterable[Ability]) -> MissingCapability:
    """The refusal of a request that none of ``abilities`` may serve: names what all of them lack, else what any of them lacks."""
    lacking = [ability.lacks(needs) & ~PREFERENCES for ability in abilities]
    every, some = EVERYTHING, 0
    for bits in lacking:
        every &= bits
        some |= bits
    words = [word for bit, word in WORDS.items() if bit & (every or some)]
    if not all(lacking) and not every:
        words.append(f"a context of {needs.input_tokens} tokens")
    return MissingCapability(model, " and ".join(words))
