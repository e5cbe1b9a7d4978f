"""F1 of every class, from a confusion matrix pooled over all pictures of a test set."""

import numpy as np
from jaxtyping import Float64, Int64, Shaped


class Confusion:
    """Counts pixels by (true class, predicted class); pictures of any size are added one by one."""

    def __init__(self, classes: int) -> None:
        self.counts: Int64[np.ndarray, "C C"] = np.zeros((classes, classes), np.int64)

    def add(self, truth: Shaped[np.ndarray, "H W"], predicted: Shaped[np.ndarray, "H W"]) -> None:
        """Count the pixels of a picture; all labels must be classes."""
        classes = len(self.counts)
        pairs = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def f1(self) -> Float64[np.ndarray, " C"]:
        """F1 = 2 TP / (predicted + true) of each class; NaN for one that occurs in neither."""
        total = self.counts.sum(axis=0) + self.counts.sum(axis=1)
        hits = 2.0 * self.counts.diagonal()
        return np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0)

    def mean_f1(self) -> float:
        """Mean F1 of all classes but the background; NaN where one of them occurs nowhere."""
        return float(self.f1()[1:].mean())
