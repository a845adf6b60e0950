"""How a model is trained, by name: from arrays to a package ready to register. Heavy libraries are imported when a recipe runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from governance.rows import Floats, Ints
from portal.core.errors import DomainError


@dataclass(frozen=True)
class Channel:
    """An input as the package wants it: name, unit, plausible range."""

    name: str
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class TrainingSet:
    """``inputs`` (n, k), ``target`` (n,) or None, ``plant_ms`` (n,), ``weights`` (n,) or None, all oldest first."""

    inputs: Floats
    target: Floats | None
    plant_ms: Ints
    weights: Floats | None = None

    @property
    def labels(self) -> Floats:
        """The target of a labelled set; ValueError when it has none."""
        if self.target is None:
            raise ValueError("these rows have no label")
        return self.target

    def slice(self, first: int, last: int) -> TrainingSet:
        return TrainingSet(
            self.inputs[first:last],
            None if self.target is None else self.target[first:last],
            self.plant_ms[first:last],
            None if self.weights is None else self.weights[first:last],
        )


@dataclass(frozen=True)
class Trained:
    """A package and a predictor with shape (n, k) -> (n,)."""

    package: Any
    predict: Callable[[Floats], Floats]


@dataclass(frozen=True)
class Recipe:
    """``build(training, held_out, channels, model)`` trains, exports, quantises where the type allows, and packages.

    ``fewest`` and ``most``: how many inputs it takes.
    """

    key: str
    label: str
    labelled: bool
    build: Callable[[TrainingSet, TrainingSet, Sequence[Channel], Any], Trained]
    fewest: int = 1
    most: int = 200


def _features(channels: Sequence[Channel]) -> list[Any]:
    from governance.modelling.package import Feature

    return [Feature(c.name, c.unit, c.low, c.high) for c in channels]


def _plant_time(training: TrainingSet) -> Any:
    from governance.modelling.package import PlantTime

    return PlantTime(int(training.plant_ms.min()), int(training.plant_ms.max()))


def _soft_sensor(training: TrainingSet, held_out: TrainingSet, channels: Sequence[Channel], model: Any) -> Trained:
    from governance.modelling import soft_sensor
    from governance.modelling.package import from_soft_sensor

    sensor = soft_sensor.train(
        training.inputs,
        training.labels,
        held_out_rows=held_out.inputs,
        held_out_target=held_out.labels,
        sample_weight=training.weights,
    )
    package = from_soft_sensor(
        sensor,
        features=_features(channels),
        target=model.target,
        unit=model.unit,
        plant_time=_plant_time(training),
        sample_rows=held_out.inputs,
    )
    return Trained(package, lambda rows: sensor.predict(rows).astype(np.float64))


def _detector(name: str) -> Callable[..., Trained]:
    """A detector on healthy rows, by the modelling recipe ``name``; every fifth block is held back for its threshold and the INT8 delta."""

    def build(training: TrainingSet, held_out: TrainingSet, channels: Sequence[Channel], model: Any) -> Trained:
        from governance.modelling import recipes as modelling
        from governance.modelling.arrays import sliding_windows
        from governance.modelling.package import from_detector

        chosen = getattr(modelling, name)
        rows = np.concatenate([training.inputs, held_out.inputs])
        built = modelling.build(chosen, rows)
        window = chosen.spec.window
        package = from_detector(
            built.shipped,
            features=_features(channels),
            plant_time=_plant_time(TrainingSet(rows, None, np.concatenate([training.plant_ms, held_out.plant_ms]))),
            sample_rows=sliding_windows(held_out.inputs, window),
            quantisation=built.report,
        )
        return Trained(package, lambda values: built.shipped.score(sliding_windows(values, window)).astype(np.float64))

    return build


RECIPES: dict[str, Recipe] = {
    recipe.key: recipe
    for recipe in (
        Recipe("gradient_boosting", "Histogram gradient boosting on labelled rows", True, _soft_sensor),
        Recipe(
            "sensor_autoencoder", "Autoencoder on the machine's sensors, INT8", False, _detector("TURBINE_SENSORS"), 2
        ),
        Recipe(
            "temperature_autoencoder",
            "Autoencoder on half a day of one temperature, INT8",
            False,
            _detector("MACHINE_TEMPERATURE"),
            most=1,
        ),
        Recipe(
            "process_plane", "Principal components of the process, T2 and SPE", False, _detector("PROCESS_PLANE"), 11
        ),
    )
}


def recipe_of(model: Any) -> Recipe:
    found = RECIPES.get(model.recipe)
    if found is None:
        raise DomainError("recipe", f"There is no training recipe {model.recipe!r}.")
    return found


def with_metrics(trained: Trained, **metrics: float) -> Trained:
    """The same model with figures measured elsewhere (on rows it was not trained on)."""
    return Trained(replace(trained.package, metrics={**trained.package.metrics, **metrics}), trained.predict)
