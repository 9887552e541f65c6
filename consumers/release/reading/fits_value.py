"""One column of a catalogue as it is made of a field of a FITS table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.release.reading.fits_column import FitsColumn

Convert = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Value:
    """A column of the catalogue.

    Parameters
    ----------
    field
        Its name, type and metadata.
    column
        The FITS field that holds it.
    element
        Which of the values that the field has in a row.
    convert
        What is done with the numbers; None where they stay.
    """

    field: pa.Field
    column: FitsColumn
    element: int = 0
    convert: Convert | None = None

    def array(self, cells: NDArray[Any]) -> pa.Array:
        """The column of a batch; `cells` as `FitsColumn.cells` gives them."""
        if self.convert is None:
            return self.column.array(cells, self.element)
        with np.errstate(invalid="ignore"):
            return pa.array(self.convert(cells[:, self.element]), from_pandas=False)
