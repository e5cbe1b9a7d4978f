"""The stack machine that a pickle is a program for: it writes down what it is asked to build.

Nothing is imported, called or hashed, and every length is compared with the bytes that are there.
"""

from mmap import mmap
from typing import Any

from flame_assets.inert.budgets import PICKLE_DEPTH, PICKLE_LINE
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.globals import global_name
from flame_assets.inert.pickle_graph.nodes import GlobalRef, PairList, PickledCall, SetList

DAMAGED = "is no readable pickle, or only a part of one"
LINE_ENDS = "is damaged: its line ends were changed in transfer; copy it in binary mode"


class PickleMachine:
    """The state of a pickle that is read from `data` between `position` and `end`."""

    def __init__(self, data: bytes | mmap, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        """Of the next byte; behind the pickle when it has been read."""
        self.end = len(data) if end is None else end
        self.kept: set[int] | None = None
        """Numbers of the memo's entries that will be asked for; None: keep all."""
        self.restart()

    def restart(self) -> None:
        """Begin a pickle at the present position."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.memo_count = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, stop = self.position, self.position + count
        if not start <= stop <= self.end:
            raise ReadError(DAMAGED)
        self.position = stop
        return self.data[start:stop]

    def byte(self) -> int:
        """The next byte."""
        self.position += 1
        if self.position > self.end:
            raise ReadError(DAMAGED)
        return self.data[self.position - 1]

    def unsigned(self, size: int) -> int:
        """The next little-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def counted(self, size: int) -> bytes:
        """As many bytes as the next integer of `size` bytes says."""
        if size == 1:
            return self.take(self.byte())
        return self.take(self.unsigned(size))

    def line(self, *, any_text: bool = False) -> bytes:
        """The bytes up to the next line end; only `any_text` may end in a carriage return."""
        stop = self.data.find(b"\n", self.position, min(self.end, self.position + PICKLE_LINE))
        if stop < 0:
            raise ReadError(DAMAGED)
        text = self.data[self.position : stop]
        self.position = stop + 1
        if text.endswith(b"\r") and not any_text:
            raise ReadError(LINE_ENDS)
        return text

    def global_ref(self, module: Any, name: Any) -> GlobalRef:
        """A global by the module and name that the pickle gives."""
        if type(module) is not str or type(name) is not str:
            raise ReadError(DAMAGED)
        return GlobalRef(global_name(module, name))

    def mark(self) -> None:
        """Start a new stack for the items of one container."""
        if len(self.marks) >= PICKLE_DEPTH:
            raise ReadError(f"is nested deeper than {PICKLE_DEPTH} levels")
        self.marks.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """Everything above the topmost mark; the mark goes."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def remember(self, number: int) -> None:
        """Store the top of the stack under `number`."""
        self.memo_count += 1
        if self.kept is None or number in self.kept:
            self.memo[number] = self.stack[-1]

    def call(self, function: Any, args: Any) -> PickledCall:
        """What a call would give; calls of copyreg's makers are calls of the class they make."""
        if type(function) is not GlobalRef or type(args) is not tuple:
            raise ReadError(DAMAGED)
        name = function.name
        if name.startswith("copyreg.") and args and type(args[0]) is GlobalRef:
            # _reconstructor(class, base, state) of protocols 0 and 1; __newobj__(class, *args)
            rest = () if name == "copyreg._reconstructor" else args[1:]
            return PickledCall(args[0].name, rest)
        return PickledCall(name, args)

    def extend(self, items: list[Any]) -> None:
        """Add items to the list, set or object on top of the stack."""
        target = self.stack[-1]
        if type(target) is PickledCall:
            target.items.extend(items)
        elif type(target) is list or type(target) is SetList:
            target.extend(items)
        else:
            raise ReadError(DAMAGED)

    def update(self, pairs: list[Any]) -> None:
        """Add keys and values, in turn, to the dictionary or object on top of the stack."""
        target = self.stack[-1]
        if len(pairs) % 2:
            raise ReadError(DAMAGED)
        if type(target) is PickledCall:
            target.pairs.extend(pairs)
        elif type(target) is PairList:
            target.extend(pairs)
        else:
            raise ReadError(DAMAGED)
