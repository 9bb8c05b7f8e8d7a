"""Elements of a DICOM file, walked before GDCM, which gives memory for whatever length a damaged one states."""

import re
import struct
from pathlib import Path

from transmodal.errors import InputError

_START = 132
"""Bytes of preamble and magic."""
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Kinds of values whose length has four bytes."""
_KIND = re.compile(rb"AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|PN|SH|SL|SS|ST|TM|UI|UL|US|" + b"|".join(_LONG))
_UNDEFINED = 0xFFFFFFFF
_SYNTAX, _PIXELS, _ITEM = (0x0002, 0x0010), (0x7FE0, 0x0010), 0xFFFE
_ENDS = ((_ITEM, 0xE00D), (_ITEM, 0xE0DD))
_IMPLICIT, _BIG, _DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


def check_elements(path: Path) -> None:
    """Refuse a file in which an element is longer than what is left of it, or of no known kind.

    Raises:
        InputError: naming the byte.
    """
    content = path.read_bytes()
    at, syntax, in_pixels, foreign = _START, b"", False, 0
    while at + 8 <= len(content) and content[at:].strip(b"\0"):
        meta = content[at : at + 2] == b"\x02\x00"
        order = ">" if syntax == _BIG and not meta else "<"
        tag = struct.unpack_from(f"{order}HH", content, at)
        explicit = tag[0] != _ITEM and (meta or not (syntax == _IMPLICIT or foreign))
        size, length, kind = _length(content, at, order, explicit=explicit)
        if size == 0 or syntax == _DEFLATED or (length != _UNDEFINED and at + size + length > len(content)):
            raise InputError(
                f"{path}: the element at byte {at} of {len(content)} is damaged, deflated or cut off"
                "; export it again"
            )
        if tag == _SYNTAX:
            syntax = content[at + size : at + size + length].rstrip(b"\0 ")
        if (kind == b"UN" or foreign) and length == _UNDEFINED:
            foreign += 1  # A private sequence that somebody did not know: its elements are of the implicit kind.
        elif foreign and tag in _ENDS:
            foreign -= 1
        in_pixels = in_pixels or (tag == _PIXELS and length == _UNDEFINED)
        inside = kind == b"SQ" or tag[0] == _ITEM or length == _UNDEFINED
        # What lies in a sequence or an item is walked as well; what lies in an item of pixels is no element.
        at += size if inside and not (in_pixels and length != _UNDEFINED) else size + length


def _length(content: bytes, at: int, order: str, *, explicit: bool) -> tuple[int, int, bytes]:
    """Bytes before the value (0: not an element), bytes of it, and its kind."""
    if not explicit:
        return 8, struct.unpack_from(f"{order}I", content, at + 4)[0], b""
    kind = content[at + 4 : at + 6]
    if not _KIND.fullmatch(kind):
        return 0, 0, kind
    if kind not in _LONG:
        return 8, struct.unpack_from(f"{order}H", content, at + 6)[0], kind
    if at + 12 > len(content):
        return 0, 0, kind
    return 12, struct.unpack_from(f"{order}I", content, at + 8)[0], kind
