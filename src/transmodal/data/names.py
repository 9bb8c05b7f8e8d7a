"""Names that become files and folders: of cases, modalities, rows of a suite."""

MOST_BYTES = 150
"""Of a name. Files may have 255; suffixes and the sign of an unfinished file come on top."""


def can_be_file(name: object) -> bool:
    r"""Whether a word can name a file or a folder inside the one that it belongs to, and nothing outside.

    >>> [can_be_file(name) for name in ("sub-01", "Jané 2", "..", "a/b", "", ".hidden", "a\0")]
    [True, True, False, False, False, False, False]
    """
    return (
        isinstance(name, str)
        and name.isprintable()
        and 0 < len(name.encode()) <= MOST_BYTES
        and not name.startswith(".")
        and not {"/", "\\"} & set(name)
    )
