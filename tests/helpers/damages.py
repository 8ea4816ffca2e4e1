"""Damage to files, at random and not."""

import copy
import json

#: What JSON can hold where something else is expected.
ODD = (None, True, -1, 0, 1.5, 10**30, 1e308, "", "\0", "../x", "a" * 5000, [], [[1], [1, 2]], {}, {"a": {}}, [None])


def damaged(data, rng):
    """A copy of some bytes: a few changed, cut short, a stretch zeroed, repeated, or made a large number."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        kind, place = rng.integers(7), int(rng.integers(len(data) + 1))
        if kind < 2 and place < len(data):
            data[place] = rng.integers(256)
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            data[place : place + 16] = bytes(16)
        elif kind == 4:
            data[place : place + 8] = rng.bytes(8)
        elif kind == 5:
            data[place:place] = data[place // 2 : place // 2 + 64]
        else:
            data[place : place + 4] = (b"9999", b"\xff\xff\xff\x7f", b"-1  ", b"\x80\xff\xff\xff")[rng.integers(4)]
    return bytes(data)


def damaged_json(value, rng):
    """A copy of a JSON value as bytes, with something in it replaced by what does not belong there, or its bytes damaged."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.integers(1, 3)):
        place = value
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[rng.integers(len(keys))]
            if not isinstance(place[key], (dict, list)) or rng.random() < 0.4:
                place[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
                break
            place = place[key]
    data = json.dumps(value).encode()
    return damaged(data, rng) if rng.random() < 0.3 else data
