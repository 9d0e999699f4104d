"""CRUD over the catalogue."""

from collections.abc import Iterator
from typing import Annotated

import pydantic
from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from .models import Book, Session

router = APIRouter(prefix="/library", tags=["library"])


class BookDraft(BaseModel):
    title: str = Field(min_length=1)
    author: str = Field(min_length=1)
    year: int | None = None
    copies: int = Field(default=1, ge=0)


class BookCard(BookDraft):
    model_config = ConfigDict(from_attributes=True)

    id: int


def database() -> Iterator[DatabaseSession]:
    with Session.begin() as session:
        yield session


# Of the scope of the function: committed before the response is sent, not after it.
Database = Annotated[DatabaseSession, Depends(database, scope="function")]


def book_or_404(book_id: int, session: Database) -> Book:
    book = session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, f"no book {book_id}")
    return book


FoundBook = Annotated[Book, Depends(book_or_404)]


@router.get("/about")
def about() -> dict[str, str]:
    """Which pydantic this process runs; compare the plugin ``legacy``."""
    return {"pydantic": pydantic.VERSION}


@router.get("/books")
def list_books(session: Database, search: str = "", limit: Annotated[int, Query(le=500)] = 100) -> list[BookCard]:
    query = select(Book).where(Book.title.contains(search, autoescape=True)).order_by(Book.id).limit(limit)
    return [BookCard.model_validate(book) for book in session.scalars(query)]


@router.post("/books", status_code=201)
def add_book(draft: BookDraft, session: Database) -> BookCard:
    book = Book(**draft.model_dump())
    session.add(book)
    session.flush()
    return BookCard.model_validate(book)


@router.get("/books/{book_id}")
def show_book(book: FoundBook) -> BookCard:
    return BookCard.model_validate(book)


@router.put("/books/{book_id}")
def change_book(book: FoundBook, draft: BookDraft) -> BookCard:
    for field, value in draft.model_dump().items():
        setattr(book, field, value)
    return BookCard.model_validate(book)


@router.delete("/books/{book_id}", status_code=204)
def remove_book(book: FoundBook, session: Database) -> None:
    session.delete(book)
