"""Tables: CSV and Parquet bytes to frames, with errors that name the file."""

from __future__ import annotations

import io

import polars as pl

from tidegauge.errors import InvalidInputError


def read_table(data: bytes, name: str, *, as_text: bool = False) -> pl.DataFrame:
    """Read CSV or Parquet (by the ending of ``name``), with the blanks around column names cut off.

    ``as_text`` gives every column as text, which keeps what a type would refuse. Raises
    InvalidInputError naming the file where it is empty, damaged, or has rows of different lengths.
    """
    try:
        if name.lower().endswith(".parquet"):
            frame = pl.read_parquet(io.BytesIO(data))
            frame = (
                frame.with_columns(_as_text(column) for column in frame.iter_columns()) if as_text else frame
            )
        else:
            # All rows decide on the types, so that a late decimal point does not fail the file.
            frame = pl.read_csv(
                io.BytesIO(data), infer_schema=not as_text, infer_schema_length=None, raise_if_empty=True
            )
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InvalidInputError(f"{name} cannot be read as a table ({reason}).") from error
    names = [column.strip() for column in frame.columns]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"{name} has two columns of the same name; rename one.")
    frame.columns = names
    return frame


def _as_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        # ISO 8601 with microseconds and, where there is one, the zone's offset.
        return column.dt.cast_time_unit("us").dt.to_string("iso:strict")
    if column.dtype == pl.Binary:
        return column.cast(pl.String, strict=False)
    return column.cast(pl.String)
