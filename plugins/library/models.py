"""Tables, and the database in the plugin's data folder: it survives every restart, reload and upgrade."""

import os
from pathlib import Path

from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

engine = create_engine(f"sqlite:///{Path(os.environ['XCORE_DATA_DIR']) / 'library.db'}")
Session = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String, index=True)
    author: Mapped[str]
    year: Mapped[int | None]
    copies: Mapped[int] = mapped_column(default=1)


Base.metadata.create_all(engine)
