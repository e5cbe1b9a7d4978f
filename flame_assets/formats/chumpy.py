"""Arrays of chumpy, the array package that FLAME's older files were pickled with.

chumpy no longer installs; its objects are read as the names and values that stand in the pickle.
"""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from flame_assets.inert.arrays import as_array
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.values import PickledObject

PACKAGE = "chumpy"
_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def as_plain_array(value: Any) -> Shaped[np.ndarray, "..."]:
    """The numbers of `value`, which may be a chumpy array; see `inert.arrays.as_array`.

    `Ch` holds its numbers as x; `Select` picks the flat indices idxs of another one, a.

    Raises:
        ReadError: it holds no numbers, or is an expression of arrays that is not evaluated here.
    """
    selections = []
    while isinstance(value, PickledObject) and value.name == "chumpy.reordering.Select":
        if len(selections) == 8 or not isinstance(value.state, dict):
            raise ReadError("holds a malformed chumpy array")
        selections.append(value.state)
        value = value.state.get("a")
    if isinstance(value, PickledObject):
        if value.name != "chumpy.ch.Ch" or not isinstance(value.state, dict):
            raise ReadError(f"holds a {value.name} where numbers should be")
        value = value.state.get("x")
    array = as_array(value)
    for state in reversed(selections):
        try:
            indices = as_array(state["idxs"])
            array = array.ravel()[indices]
            shape = state.get("preferred_shape")
            array = array if shape is None else array.reshape(shape)
        except _MALFORMED as error:
            raise ReadError("holds a malformed chumpy array") from error
    return array
