"""The terminal: whether a stream is one, and text that may be shown on it."""


def is_terminal(stream: object) -> bool:
    """Whether it is a terminal. What stands in for a stream need not have an isatty: then it is none."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def printable(text: str) -> str:
    r"""The text with what is no character to be seen, such as a control character, as an escape: "\x1b" for ESC.

    A name may come from a file, and a terminal would obey it.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same, except that lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))
