"""Checks and fingerprints of the arrays a model is trained and judged on."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatRows = NDArray[np.float32]
FloatVector = NDArray[np.float64]


def as_rows(values: ArrayLike, *, columns: int | None = None, name: str = "rows") -> FloatRows:
    """Return `values` as a finite, C-contiguous float32 array of shape (n, columns).

    float32 is what a gateway feeds the model, so training on the same precision keeps both sides on one number.
    Raises ValueError for another shape, for no rows and for values that are not finite in float32.
    """
    rows = np.ascontiguousarray(np.asarray(values), dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"{name} must have two dimensions (rows, columns), got {rows.ndim}")
    if rows.shape[0] == 0 or rows.shape[1] == 0:
        raise ValueError(f"{name} must not be empty, got shape {rows.shape}")
    if columns is not None and rows.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, got {rows.shape[1]}")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=0)).tolist()
        raise ValueError(f"{name} must be finite, columns {bad} are not")
    return rows


def as_vector(values: ArrayLike, *, length: int, name: str) -> FloatVector:
    """Return `values` as a finite float64 vector of `length`; raises ValueError otherwise."""
    vector = np.ascontiguousarray(np.asarray(values), dtype=np.float64)
    if vector.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite")
    return vector


def fingerprint(rows: ArrayLike, target: ArrayLike | None = None) -> str:
    """SHA-256 (hex) of the training data: shape line, then little-endian float32 rows, then float64 target.

    Equal data give equal fingerprints on every machine; the order of rows counts, because it decides the model.
    """
    array = np.ascontiguousarray(np.asarray(rows), dtype="<f4")
    digest = hashlib.sha256(f"rows f4 {'x'.join(map(str, array.shape))}\n".encode())
    digest.update(array.tobytes())
    if target is not None:
        vector = np.ascontiguousarray(np.asarray(target), dtype="<f8")
        digest.update(f"target f8 {'x'.join(map(str, vector.shape))}\n".encode())
        digest.update(vector.tobytes())
    return digest.hexdigest()


def sliding_windows(rows: ArrayLike, window: int) -> FloatRows:
    """Return the last `window` rows at each step as one flat row: (n, c) -> (n - window + 1, window * c).

    Oldest row first, channels in order inside a row: the layout a gateway sends and the graphs of this package read.
    Raises ValueError when there are fewer rows than one window.
    """
    array = as_rows(rows)
    if window < 1:
        raise ValueError("window must be at least 1")
    if len(array) < window:
        raise ValueError(f"{len(array)} rows do not fill one window of {window}")
    view = np.lib.stride_tricks.sliding_window_view(array, window, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1)).reshape(len(array) - window + 1, -1)
