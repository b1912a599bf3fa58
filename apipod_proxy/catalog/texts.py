"""What texts of a catalog may hold, told by where they go. Pure."""

from __future__ import annotations


def is_one_line(text: str) -> bool:
    """Whether headers, logs and databases take the text: no control characters, and nothing that is no character at all."""
    return not any(
        character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text
    )


def is_name(text: str) -> bool:
    """Whether something can be called so: 1 to 250 printable characters, no blanks around them."""
    return text.strip() == text and 0 < len(text) <= 250 and text.isprintable()


def fits_a_header(text: str) -> bool:
    """Whether the text can be the value of a header, as the key of a provider is: one line in Latin-1."""
    return is_one_line(text) and all(character <= "\xff" for character in text)
