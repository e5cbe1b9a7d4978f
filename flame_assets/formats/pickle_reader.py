"""Read the numbers out of a pickle without running it.

A pickle is a program; unpickling it can do anything. FLAME's files are pickles, some of objects
of a package that no longer installs (chumpy). So the program is only read, opcode by opcode, and
what it asks to be built is written down instead of built: a call becomes a `Call` that says which
function was wanted and with what; plain_arrays.py makes arrays of the calls it knows.

Names that no FLAME file needs (os.system, builtins.eval, ...) are refused on sight, although
nothing here would call them: such a file is not what it says it is.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MALFORMED = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What content of the wrong kind raises where it is taken for a model's."""
MAX_OPCODES = 200_000  # a FLAME model takes some hundreds

ALLOWED = frozenset(
    {
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer",
        "numpy.ndarray",
        "numpy.dtype",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse._csc.csc_array",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage._load_from_bytes",
        *(f"torch.{kind}Storage" for kind in ("Long", "Int", "Float", "Double")),
        "collections.OrderedDict",
        "copyreg._reconstructor",
        "builtins.bytes",
        "builtins.object",
        "builtins.set",
        "_codecs.encode",
    }
)
_RENAMED = {  # old module -> today's
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "scipy.sparse.csc": "scipy.sparse._csc",
    "copy_reg": "copyreg",
    "__builtin__": "builtins",
}


class PickleError(ValueError):
    """The pickle is broken, asks for something no model file needs, or holds no array here."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A function or class the pickle asks for, by its present-day dotted name."""

    dotted: str


@dataclass(slots=True, eq=False)
class Call:
    """An object the pickle wants built: `function(*args)`, then given `state`."""

    function: str
    args: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """The content of a pickle as plain Python values and `Call`s; strings of Python 2 as latin-1.

    Dictionary entries whose keys are neither strings nor numbers are dropped.
    """
    return read_pickle_from(io.BytesIO(data))


def read_pickle_from(stream: io.BytesIO) -> Any:
    """As `read_pickle`; leaves the stream behind the pickle's end."""
    reader = _Reader()
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPCODES:
                raise PickleError(f"is no model: it has more than {MAX_OPCODES} steps")
            reader.step(opcode.name, arg)
        (content,) = reader.stack
    except PickleError:
        raise
    except MALFORMED as error:
        raise PickleError("is no readable pickle") from error
    return content


class _Reader:
    """The pickle machine: a stack, marks on it, and a memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, arg: Any) -> None:
        if opcode in _VALUES:
            self.stack.append(_VALUES[opcode](arg))
        elif opcode in _FROM_MARK:
            items = self.stack
            self.stack = self.marked.pop()
            _FROM_MARK[opcode](self.stack, items)
        elif opcode in _ON_STACK:
            _ON_STACK[opcode](self.stack)
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = self.stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[arg])
        elif opcode == "MARK":
            self.marked.append(self.stack)
            self.stack = []
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"uses the pickle step {opcode}, which no model file needs")


def _name(module: str, name: str) -> Name:
    dotted = f"{_RENAMED.get(module, module)}.{name}"
    if dotted not in ALLOWED and module.partition(".")[0] != "chumpy":
        raise PickleError(f"asks for {module}.{name}, which no model file needs; it may be hostile")
    return Name(dotted)


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    if not (isinstance(module, str) and isinstance(name, str)):
        raise PickleError("is no readable pickle")
    stack.append(_name(module, name))


def _call(stack: list[Any]) -> None:
    args, function = stack.pop(), stack.pop()
    if not (isinstance(function, Name) and isinstance(args, tuple)):
        raise PickleError("is no readable pickle")
    if function.dotted == "copyreg._reconstructor":  # (class, base, state) of protocols 0 and 1
        function, args = args[0], ()
    stack.append(_plain(function.dotted, args))


def _plain(function: str, args: tuple[Any, ...]) -> Any:
    """The few calls that stand for plain values; all others are only written down."""
    if function == "collections.OrderedDict":
        return {}
    if function == "builtins.bytes" and not args:
        return b""
    if function == "_codecs.encode" and args[1:] in (("latin1",), ("latin-1",)):
        return args[0].encode("latin-1")  # bytes, as older protocols write them
    return Call(function, args)


def _build(stack: list[Any]) -> None:
    state, target = stack.pop(), stack[-1]
    if not isinstance(target, Call):
        raise PickleError("is no readable pickle")
    target.state = state


def _append(stack: list[Any]) -> None:
    item = stack.pop()
    _extend(stack, [item])


def _extend(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise PickleError("is no readable pickle")
    stack[-1].extend(items)


def _set_items(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], dict):
        raise PickleError("is no readable pickle")
    pairs = zip(items[::2], items[1::2], strict=True)
    stack[-1].update((k, v) for k, v in pairs if isinstance(k, str | bytes | int | float))


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _set_items(stack, [key, value])


def _tuple_of(count: int) -> Callable[[list[Any]], None]:
    def build(stack: list[Any]) -> None:
        if len(stack) < count:
            raise PickleError("is no readable pickle")
        items = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        stack.append(tuple(items))

    return build


def _dict_from_mark(stack: list[Any], items: list[Any]) -> None:
    stack.append({})
    _set_items(stack, items)


def _same(arg: Any) -> Any:
    return arg


_VALUES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"], _same),
    **dict.fromkeys(["FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"], _same),
    **dict.fromkeys(["UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"], _same),
    **dict.fromkeys(["BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"], _same),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_SET": lambda _: [],  # sets are kept as lists: nothing is hashed
    "GLOBAL": lambda arg: _name(*arg.split(" ", 1)),
}
_FROM_MARK: dict[str, Callable[[list[Any], list[Any]], None]] = {
    "TUPLE": lambda stack, items: stack.append(tuple(items)),
    "LIST": lambda stack, items: stack.append(items),
    "FROZENSET": lambda stack, items: stack.append(items),
    "DICT": _dict_from_mark,
    "APPENDS": _extend,
    "ADDITEMS": _extend,
    "SETITEMS": _set_items,
    "POP_MARK": lambda stack, items: None,
}
_ON_STACK: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "SETITEM": _set_item,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _build,
    "POP": lambda stack: stack.__delitem__(-1),
    "BINPERSID": lambda stack: stack.append(Call("persistent", (stack.pop(),))),
    "DUP": lambda stack: stack.append(stack[-1]),
}
