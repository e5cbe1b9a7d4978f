"""A bounded, ordered map over threads, for work that releases the interpreter lock."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Future[Result], None, None]:
    """Apply `function` to the items on `threads` threads; a finished future per item, in order.

    At most `threads` items are begun and not yet taken. With one thread every item is computed by
    the caller's, when its turn comes. Closing the iterator begins no more.
    """
    if threads == 1:
        for item in items:
            future: Future[Result] = Future()
            try:
                future.set_result(function(item))
            except Exception as error:
                future.set_exception(error)
            yield future
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        begun = [pool.submit(function, item) for item in islice(remaining, threads)]
        while begun:
            future = begun.pop(0)
            wait([future])
            yield future
            begun += [pool.submit(function, item) for item in islice(remaining, 1)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
