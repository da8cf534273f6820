"""What all tables share: their metadata, and how columns are said."""

from typing import Any

from sqlalchemy import Column, DateTime, Identity, Integer, MetaData
from sqlalchemy.types import TypeEngine

metadata = MetaData()

WHEN = DateTime(timezone=True)


def pk(kind: TypeEngine[int] | None = None, always: bool = False) -> Column[int]:
    return Column("pk", kind or Integer(), Identity(always=always), primary_key=True)


def must(name: str, kind: Any, *rest: Any, **more: Any) -> Column[Any]:
    return Column(name, kind, *rest, nullable=False, **more)
