"""The wire format of protocol buffers, as little of it as ONNX and paddle's program files need.

The usual library turns two bytes of a file into two hundred of memory; here a message is looked into only when it is
asked for.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from ...errors import WeightsError

MAX_FIELDS = 100_000  # of one message; the largest network's graph has some thousands
MAX_PACKED = 8 << 20  # bytes of whole numbers in one field
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(data):
    """The fields of a message, in order.

    Parameters
    ----------
    data : bytes or memoryview; an int, which a damaged field may turn out to be, is an error

    Yields
    ------
    (number, value) : int; int of a varint, memoryview of anything else
    """
    if isinstance(data, int):
        raise WeightsError("a number where a message should be: damaged")
    data, position = memoryview(data), 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64, _BYTES):
            size = 4 if wire == _FIXED32 else 8
            if wire == _BYTES:
                size, position = _varint(data, position)
            if position + size > len(data):
                raise WeightsError(
                    f"a field of {size} bytes in a message that has {len(data) - position} left: damaged or cut off"
                )
            value, position = data[position : position + size], position + size
        else:
            raise WeightsError(f"a field of wire type {wire}, which is none: damaged")
        yield number, value


def collect(data):
    """The fields of a message as {number: [values]}."""
    parsed = {}
    for count, (number, value) in enumerate(fields(data)):
        if count == MAX_FIELDS:
            raise WeightsError(f"a message of more than {MAX_FIELDS} fields: refused")
        parsed.setdefault(number, []).append(value)
    return parsed


def message(parsed, number):
    """The bytes of a field that holds a message; the last one where it is repeated; empty if it is not there."""
    return parsed.get(number, [b""])[-1]


def texts(parsed, number):
    """The texts of a repeated field."""
    try:
        return [str(value, "utf-8") for value in parsed.get(number, ())]
    except (UnicodeDecodeError, TypeError) as error:
        raise WeightsError(f"field {number} is no text: damaged") from error


def text(parsed, number):
    """A field's text; "" if it is not there."""
    return next(iter(texts(parsed, number)[-1:]), "")


def integer(parsed, number, default=0):
    """A field's whole number; `default` if it is not there."""
    value = parsed.get(number, [default])[-1]
    if not isinstance(value, int):
        raise WeightsError(f"field {number} is no number: damaged")
    return value


def integers(parsed, number):
    """A repeated field of whole numbers, packed or not, as signed 64-bit values."""
    values = []
    for part in parsed.get(number, ()):
        packed = b"" if isinstance(part, int) else part
        if len(packed) > MAX_PACKED:
            raise WeightsError(f"a field of whole numbers in {len(packed)} bytes, more than {MAX_PACKED}: refused")
        values += [part] if isinstance(part, int) else []
        position = 0
        while position < len(packed):
            value, position = _varint(packed, position)
            values.append(value)
    return tuple(value - (1 << 64) if value >> 63 else value for value in values)


def fixed(parsed, number):
    """The bytes of a repeated field of numbers of fixed width, packed or not."""
    values = parsed.get(number, ())
    if any(isinstance(value, int) for value in values):
        raise WeightsError(f"field {number} is a varint, expected numbers of fixed width: damaged")
    return b"".join(values)


def _varint(data, position):
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WeightsError("a number is cut off: damaged")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise WeightsError("a number has more than ten bytes: damaged")
