"""Pickle's opcodes, and a pickle as a graph of nodes: protocols 0 to 5.

Source: CPython's Lib/pickletools.py and PEPs 307, 3154 and 574. `values.resolve` makes values of
the graph.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from flame_assets.inert.budgets import PICKLE_DIGITS, PICKLE_OPCODES, PICKLE_SHARED
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.machine import DAMAGED, PickleMachine
from flame_assets.inert.pickle_graph.nodes import (
    GlobalRef,
    OldString,
    PairList,
    PersistentId,
    PickledCall,
    SetList,
)

Step = Callable[[PickleMachine], None]
Make = Callable[[PickleMachine], Any]


def read_graph(machine: PickleMachine, limit: int = PICKLE_OPCODES) -> Any:
    """The node of one pickle of at most `limit` opcodes; the machine then stands behind it."""
    machine.restart()
    for _ in _steps(machine, limit, b"."):
        pass
    if len(machine.stack) != 1 or machine.marks:
        raise ReadError(DAMAGED)
    return machine.stack[0]


def read_pairs(machine: PickleMachine, limit: int = PICKLE_OPCODES) -> Iterator[list[Any]]:
    """The keys and values, in turn, of the dictionary that a pickle is, about 1000 at a time.

    Memory does not grow with the pickle: what it refers to again is found in a first pass, all
    other nodes are dropped after they were handed out. `limit` opcodes may make one of the parts.
    """
    machine.kept = _referred(machine)
    for _ in _steps(machine, limit, b"su."):
        root = machine.stack[0]
        if type(root) is PickledCall and root.function == "collections.OrderedDict":
            root = root.pairs
        elif type(root) is not PairList:
            raise ReadError("holds something else than one dictionary")
        pairs = list(root)
        root.clear()
        yield pairs
    if len(machine.stack) != 1 or machine.marks:
        raise ReadError(DAMAGED)


def _steps(machine: PickleMachine, limit: int, batch_ends: bytes) -> Iterator[None]:
    """Follow a pickle to its end; yields where one of the opcodes `batch_ends` leaves one node."""
    data, end = machine.data, machine.end
    opcode, count = -1, 0
    try:
        while opcode != _STOP:
            if machine.position >= end:
                raise ReadError(DAMAGED)
            opcode = data[machine.position]
            machine.position += 1
            _STEPS[opcode](machine)
            count += 1
            if count > limit:
                raise ReadError(f"has more than {limit} steps, which no data file needs")
            if opcode in batch_ends and not machine.marks and len(machine.stack) == 1:
                count = 0
                yield
    except (IndexError, KeyError, ValueError, OverflowError) as error:
        raise ReadError(DAMAGED) from error


def _referred(machine: PickleMachine) -> set[int]:
    """Numbers of the memo's entries that a pickle asks for; the machine does not move."""
    scout, found = PickleMachine(machine.data, machine.position, machine.end), set()
    try:
        while (opcode := scout.byte()) != _STOP:
            if (size := _ARGUMENT[opcode]) is not None:
                scout.position += size
            elif opcode in _GETS:
                found.add(_GETS[opcode](scout))
                if len(found) > PICKLE_SHARED:
                    raise ReadError(f"refers to more than {PICKLE_SHARED} of its objects again")
            elif opcode in _COUNTED:
                count = scout.unsigned(_COUNTED[opcode])
                scout.position += count
            else:
                for _ in range(_LINES[opcode]):
                    scout.line(any_text=True)
    except (ValueError, IndexError) as error:
        raise ReadError(DAMAGED) from error
    return found


# ---------------------------------------------------------------- arguments


def _integer(text: bytes) -> int:
    if len(text) > PICKLE_DIGITS or not re.fullmatch(rb"[-+]?\d+L?", text):
        raise ReadError(DAMAGED)
    return int(text.rstrip(b"L"))


def _integer_or_bool(text: bytes) -> int | bool:
    return {b"00": False, b"01": True}[text] if text in (b"00", b"01") else _integer(text)


def _long(data: bytes) -> int:
    if len(data) > PICKLE_DIGITS:
        raise ReadError("holds a number of thousands of digits")
    return int.from_bytes(data, "little", signed=True)


def _float(text: bytes) -> float:
    if len(text) > PICKLE_DIGITS:
        raise ReadError(DAMAGED)
    return float(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


_ESCAPES = dict(zip(b"nrtabfv\\'\"", b"\n\r\t\a\b\f\v\\'\"", strict=True))


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] == b"x" and len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code[:1] in b"01234567":
        return bytes([int(code, 8) & 255])
    return bytes([_ESCAPES[code[0]]]) if code[0] in _ESCAPES else match[0]


def _quoted(text: bytes) -> OldString:
    """A string as Python 2 writes it into a text pickle: in quotes, with escapes."""
    if len(text) < 2 or text[:1] not in b"'\"" or text[-1:] != text[:1]:
        raise ReadError(DAMAGED)
    return OldString(re.sub(rb"(?s)\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", _unescape, text[1:-1]))


# ---------------------------------------------------------------- steps


def _push(make: Make) -> Step:
    def step(m: PickleMachine) -> None:
        value = make(m)  # may exchange the stack
        m.stack.append(value)

    return step


def _tuple_of(count: int) -> Step:
    def step(m: PickleMachine) -> None:
        if len(m.stack) < count:
            raise ReadError(DAMAGED)
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return step


def _skip(size: int) -> Step:
    def step(m: PickleMachine) -> None:
        m.take(size)

    return step


def _refuse(reason: str) -> Step:
    def step(m: PickleMachine) -> None:
        raise ReadError(reason)

    return step


def _pop(m: PickleMachine) -> None:
    if m.stack:
        m.stack.pop()
    else:  # POP also takes a mark away
        m.items()


def _pop_mark(m: PickleMachine) -> None:
    m.items()


def _dictionary(m: PickleMachine) -> PairList:
    pairs = PairList(m.items())
    if len(pairs) % 2:
        raise ReadError(DAMAGED)
    return pairs


def _set_item(m: PickleMachine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.update([key, value])


def _reduce(m: PickleMachine) -> None:
    args, function = m.stack.pop(), m.stack.pop()
    m.stack.append(m.call(function, args))


def _new_with_keywords(m: PickleMachine) -> None:
    m.stack.pop()
    _reduce(m)


def _build(m: PickleMachine) -> None:
    state, target = m.stack.pop(), m.stack[-1]
    if type(target) is PickledCall:
        target.state = state
    elif type(target) is not PersistentId:
        raise ReadError(DAMAGED)


def _stack_global(m: PickleMachine) -> GlobalRef:
    name, module = m.stack.pop(), m.stack.pop()
    return m.global_ref(module, name)


def _global(m: PickleMachine) -> GlobalRef:
    return m.global_ref(_text(m.line()), _text(m.line()))


def _object(m: PickleMachine) -> PickledCall:
    function, *args = m.items()
    return m.call(function, tuple(args))


_REGISTRY = "uses the extension registry of the program that wrote it"
_OUT_OF_BAND = "is one part of a pickle only: its arrays lie in another file"
_STOP = ord(".")
_BY_CODE: dict[bytes, Step] = {
    b".": _skip(0),
    b"(": PickleMachine.mark,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _push(lambda m: m.stack[-1]),
    # numbers and constants
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"F": _push(lambda m: _float(m.line())),
    b"G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"I": _push(lambda m: _integer_or_bool(m.line())),
    b"J": _push(lambda m: _long(m.take(4))),
    b"K": _push(PickleMachine.byte),
    b"M": _push(lambda m: m.unsigned(2)),
    b"L": _push(lambda m: _integer(m.line())),
    b"\x8a": _push(lambda m: _long(m.counted(1))),
    b"\x8b": _push(lambda m: _long(m.counted(4))),
    # text and bytes
    b"S": _push(lambda m: _quoted(m.line())),
    b"T": _push(lambda m: OldString(m.counted(4))),
    b"U": _push(lambda m: OldString(m.counted(1))),
    b"V": _push(lambda m: m.line(any_text=True).decode("raw-unicode-escape")),
    b"X": _push(lambda m: _text(m.counted(4))),
    b"\x8c": _push(lambda m: _text(m.counted(1))),
    b"\x8d": _push(lambda m: _text(m.counted(8))),
    b"B": _push(lambda m: m.counted(4)),
    b"C": _push(lambda m: m.counted(1)),
    b"\x8e": _push(lambda m: m.counted(8)),
    b"\x96": _push(lambda m: m.counted(8)),
    # containers
    b")": _push(lambda m: ()),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"t": _push(lambda m: tuple(m.items())),
    b"]": _push(lambda m: []),
    b"l": _push(lambda m: m.items()),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.items()),
    b"}": _push(lambda m: PairList()),
    b"d": _push(_dictionary),
    b"s": _set_item,
    b"u": lambda m: m.update(m.items()),
    b"\x8f": _push(lambda m: SetList()),
    b"\x90": lambda m: m.extend(m.items()),
    b"\x91": _push(lambda m: SetList(m.items())),
    # memo
    b"p": lambda m: m.remember(_integer(m.line())),
    b"q": lambda m: m.remember(m.byte()),
    b"r": lambda m: m.remember(m.unsigned(4)),
    b"\x94": lambda m: m.remember(m.memo_count),
    b"g": _push(lambda m: m.memo[_integer(m.line())]),
    b"h": _push(lambda m: m.memo[m.byte()]),
    b"j": _push(lambda m: m.memo[m.unsigned(4)]),
    # objects
    b"c": _push(_global),
    b"\x93": _push(_stack_global),
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _new_with_keywords,
    b"b": _build,
    b"i": _push(lambda m: m.call(_global(m), tuple(m.items()))),
    b"o": _push(_object),
    b"P": _push(lambda m: PersistentId(_text(m.line()))),
    b"Q": _push(lambda m: PersistentId(m.stack.pop())),
    # framing, and what needs more than the pickle itself
    b"\x80": _skip(1),
    b"\x95": _skip(8),
    b"\x82": _refuse(_REGISTRY),
    b"\x83": _refuse(_REGISTRY),
    b"\x84": _refuse(_REGISTRY),
    b"\x97": _refuse(_OUT_OF_BAND),
    b"\x98": _refuse(_OUT_OF_BAND),
}
_STEPS: list[Step] = [_BY_CODE.get(bytes([code]), _refuse(DAMAGED)) for code in range(256)]

# How to step over an opcode's argument: lines, a count of so many bytes, bytes.
_GETS: dict[int, Callable[[PickleMachine], int]] = {
    ord("g"): lambda m: _integer(m.line()),
    ord("h"): PickleMachine.byte,
    ord("j"): lambda m: m.unsigned(4),
}
_LINES = {**dict.fromkeys(b"FILSVPp", 1), **dict.fromkeys(b"ci", 2)}
_COUNTED = {
    **dict.fromkeys(b"UC\x8a\x8c", 1),
    **dict.fromkeys(b"TXB\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}
_FIXED = {
    **dict.fromkeys(b"Kq\x80", 1),
    **dict.fromkeys(b"M", 2),
    **dict.fromkeys(b"Jr", 4),
    **dict.fromkeys(b"G\x95", 8),
}
_ARGUMENT = [
    None if code in (*_GETS, *_LINES, *_COUNTED) else _FIXED.get(code, 0) for code in range(256)
]
