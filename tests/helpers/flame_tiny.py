"""Small heads with everything a real one has: random, asymmetric, the same every time."""

import contextlib
import sys

import numpy as np
import pytest
import scipy.sparse

from flame_assets.model.head import HeadModel, LidContact

V, F, S, E = 24, 40, 4, 3


@contextlib.contextmanager
def files_of_at_most(size: int):
    """The system refuses to write more [bytes] into a file: an error like that of a full disk.

    Python 3.11 would keep the cut compiled code of what is imported meanwhile: it writes none.
    """
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiled = sys.dont_write_bytecode
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = compiled
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tiny_head(**changes) -> HeadModel:
    rng = np.random.default_rng(7)

    def floats(*shape, scale=1.0):
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    def weights(*shape):
        raw = rng.random(shape) + 0.05
        return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)

    def ids(high, *shape):
        return rng.integers(0, high, shape).astype(np.int32)

    fields = {
        "name": "tiny",
        "version": "1",
        "licence": "none needed",
        "template": floats(V, 3, scale=0.05),
        "triangles": np.stack([rng.permutation(V)[:3] for _ in range(F)]).astype(np.int32),
        "shape_basis": floats(V, 3, S, scale=0.004),
        "expression_basis": floats(V, 3, E, scale=0.003),
        "pose_basis": floats(V, 3, 36, scale=0.002),
        "joint_regressor": weights(5, V),
        "skinning_weights": weights(V, 5),
        "landmark_triangles": ids(F, 51),
        "landmark_barycentric": weights(51, 3),
        "contour_triangles": ids(F, 79, 17),
        "contour_barycentric": weights(79, 17, 3),
        "static_contour_triangles": ids(F, 17),
        "static_contour_barycentric": weights(17, 3),
        "expression_convention": "pca",
        "expression_names": ("smile", "frown", "blink"),
        "regions": {"face": np.arange(10, dtype=np.int32)},
        "lid_contacts": (
            LidContact(joint=3, vertices=ids(V, 1), radius=np.array([0.2], np.float32)),
            LidContact(joint=4, vertices=ids(V, 1), radius=np.array([0.001], np.float32)),
        ),
    }
    return HeadModel(**(fields | changes))


SMALL_V, SMALL_F = 60, 100


def small_model() -> dict:
    """The content of a FLAME pickle with 60 vertices; `parity_weights` has one of the real size."""
    rng = np.random.default_rng(3)
    weights = rng.random((SMALL_V, 5))
    table = np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32)
    return {
        "v_template": rng.standard_normal((SMALL_V, 3)) * 0.05,
        "f": rng.integers(0, SMALL_V, (SMALL_F, 3)).astype(np.uint32),
        "shapedirs": rng.standard_normal((SMALL_V, 3, 400)) * 0.003,
        "posedirs": rng.standard_normal((SMALL_V, 3, 36)) * 0.002,
        "weights": weights / weights.sum(1, keepdims=True),
        "J_regressor": scipy.sparse.csc_matrix(
            rng.random((5, SMALL_V)) * (rng.random((5, SMALL_V)) > 0.8)
        ),
        "kintree_table": table,
        "bs_type": "lrotmin",
    }


def small_embedding() -> dict:
    """The content of a landmark_embedding.npy for it; the dynamic parts are torch tensors."""
    import torch

    rng = np.random.default_rng(4)

    def weights(*shape):
        raw = rng.random((*shape, 3)) + 0.05
        return raw / raw.sum(-1, keepdims=True)

    return {
        "static_lmk_faces_idx": rng.integers(0, SMALL_F, 51),
        "static_lmk_bary_coords": weights(51),
        "dynamic_lmk_faces_idx": torch.from_numpy(rng.integers(0, SMALL_F, (79, 17))),
        "dynamic_lmk_bary_coords": torch.from_numpy(weights(79, 17).astype(np.float32)),
        "full_lmk_faces_idx": rng.integers(0, SMALL_F, (1, 68)),
        "full_lmk_bary_coords": weights(1, 68).astype(np.float32),
    }
