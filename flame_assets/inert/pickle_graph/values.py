"""Values of the nodes that a pickle was read as: plain Python, NumPy arrays, nothing else.

| in the pickle                                   | the value                                   |
|-------------------------------------------------|---------------------------------------------|
| None, numbers, text, bytes, list, tuple         | the same                                    |
| 8-bit strings of Python 2                       | text, as latin-1                            |
| dict, OrderedDict, defaultdict, Counter         | dict; keys that are bytes become text,      |
|                                                 | NumPy integers int; entries whose key is no |
|                                                 | text up to 4096 characters or integer of 64 |
|                                                 | bits are dropped                            |
| set, frozenset                                  | the same if of text and numbers, else list  |
| deque, torch.Size                               | list, tuple                                 |
| numpy arrays and scalars of numbers             | read-only array, NumPy scalar               |
| numpy arrays of objects                         | lists in lists of values; 0-d: the value    |
| scipy.sparse csc, csr, coo                      | `arrays.SparseMatrix`                       |
| torch tensors and parameters                    | `tensors.TensorRef`, or array if inline     |
| paths of pathlib                                | text                                        |
| any other class, function or array              | `arrays.Unread`                             |
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flame_assets.inert.arrays import Unread
from flame_assets.inert.budgets import PICKLE_BYTES, PICKLE_DEPTH, PICKLE_UNFOLDED
from flame_assets.inert.files import ReadError, shown
from flame_assets.inert.pickle_graph.makers import MAKERS, PLAIN, Call, dict_of, key_of, set_of
from flame_assets.inert.pickle_graph.nodes import (
    GlobalRef,
    OldString,
    PairList,
    PersistentId,
    PickledCall,
    SetList,
)

_LONG = frozenset({str, bytes})
_TEXT = 128  # characters that count as one value


class PickledObject(NamedTuple):
    """An instance of a class that the caller knows how to read."""

    name: str
    args: tuple[Any, ...]
    state: Any


class _Node(NamedTuple):
    node: Any  # keeps its id from being used again
    value: Any
    height: int  # containers within it
    size: int  # values within it, shared ones each time they occur


class Resolver:
    """Makes values of one pickle's nodes.

    Args:
        persistent: gives the value of something outside the pickle by its (resolved) id.
        keep: package name; instances of its classes become `PickledObject`.
    """

    def __init__(
        self, persistent: Callable[[Any], Any] | None = None, keep: str | None = None
    ) -> None:
        self.persistent, self.keep = persistent, keep
        self.done: dict[int, _Node | None] = {}
        self.copied = 0

    def resolve(self, node: Any) -> Any:
        """The value of a node."""
        return self._visit(node, 0).value

    def resolve_pairs(self, pairs: list[Any]) -> Iterator[tuple[str | int, Any]]:
        """Key and value of a part of a dictionary, its keys and values given in turn."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            known = key_of(self.resolve(key))
            if known is not None:
                yield known, self.resolve(value)

    def _visit(self, node: Any, depth: int) -> "_Node":
        """The value of a node that lies in `depth` containers."""
        if type(node) in PLAIN:
            return _Node(node, node, 0, 1)
        if id(node) in self.done:
            known = self.done[id(node)]
            if known is None:
                raise ReadError("contains itself")
            if depth + known.height > PICKLE_DEPTH:
                raise ReadError(f"is nested deeper than {PICKLE_DEPTH} levels")
            return known
        if depth >= PICKLE_DEPTH:
            raise ReadError(f"is nested deeper than {PICKLE_DEPTH} levels")
        self.done[id(node)] = None
        self.done[id(node)] = made = self._make(node, depth)
        if made.size > PICKLE_UNFOLDED:
            raise ReadError(f"unfolds to more than {PICKLE_UNFOLDED} values")
        return made

    def _make(self, node: Any, depth: int) -> "_Node":
        kind = type(node)
        if kind is PickledCall:
            return self._call(node, depth)
        if kind is GlobalRef:
            return _Node(node, Unread(node.name), 0, 1)
        if kind is OldString:
            return _Node(node, node.decode("latin-1"), 0, 1 + len(node) // _TEXT)
        if kind is PersistentId:
            if self.persistent is None:
                raise ReadError("refers to data outside itself")
            id_ = self._visit(node.id, depth + 1)
            return _Node(node, self.persistent(id_.value), id_.height + 1, id_.size)
        items = self._children(node, depth)
        if kind is tuple:
            return items._replace(value=tuple(items.value))
        if kind is PairList:
            return items._replace(value=dict_of(items.value))
        return items._replace(value=set_of(items.value)) if kind is SetList else items

    def _children(self, node: Any, depth: int) -> "_Node":
        """The values in a list of nodes, as a list."""
        values, height, size = [], 1, 1
        for child in node:
            if type(child) in PLAIN:
                values.append(child)
                size += 1 + (len(child) // _TEXT if type(child) in _LONG else 0)
            else:
                made = self._visit(child, depth + 1)
                values.append(made.value)
                height, size = max(height, made.height + 1), size + made.size
        return _Node(node, values, height, size)

    def _call(self, node: PickledCall, depth: int) -> "_Node":
        kept = self.keep is not None and node.function.startswith(f"{self.keep}.")
        maker = MAKERS.get(node.function)
        if maker is None and not kept:
            return _Node(node, Unread(node.function), 0, 1)
        parts = [self._children(part, depth) for part in (node.args, node.items, node.pairs)]
        parts.append(state := self._visit(node.state, depth + 1))
        height, size = max(part.height for part in parts) + 1, sum(part.size for part in parts)
        args, items, pairs = (part.value for part in parts[:3])
        if kept or maker is None:
            value = PickledObject(node.function, tuple(args), state.value)
            return _Node(node, value, height, size)
        try:
            value = maker(Call(args, state.value, items, pairs), self._account)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise ReadError(f"holds a malformed {shown(node.function)}") from error
        return _Node(node, value, height, size)

    def _account(self, size: int) -> None:
        """Refuse the pickle once too many bytes were copied."""
        self.copied += size
        if self.copied > PICKLE_BYTES:
            raise ReadError(f"unfolds to more than {PICKLE_BYTES >> 20} MiB")
