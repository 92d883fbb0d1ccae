"""A bookstore's API: authors, their books and genres, in a real database. An ordinary Flask app.

What it does for caches (any cache, not only sidestep) is what a good app does anyway: `Cache-Control` says how long an
answer may be shared, `Cache-Tag` says what it is about, and after a change it purges what the change is about.
"""

import os

from flask import Flask, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import func, insert, select

from database import author, book, connect, genre
from purge import purge

app = Flask(__name__)
engine = connect(os.environ["DATABASE_URL"])

# Seconds for which a shared cache may answer by itself. A change through this app purges, so that it bounds only how long
# a change by other hands, in the database, stays unseen.
SHARED = int(os.environ.get("BOOKSTORE_SHARED_SECONDS", "60"))
# A browser, which nobody can purge, has to ask each time. A shared cache may give an old answer while it asks for a new
# one, and for a day when we cannot be asked.
CACHE_CONTROL = f"public, max-age=0, s-maxage={SHARED}, stale-while-revalidate={SHARED}, stale-if-error=86400"

# On every page, since a new author moves all that come after, and the total.
PAGES = "authors"


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    offset: int = Field(0, ge=0, le=1_000_000_000)


class NewBook(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = Field(min_length=1, max_length=200)
    year: int = Field(ge=1400, le=2100)
    genre: str


class NewAuthor(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=100)
    born: int | None = Field(None, ge=1300, le=2100)
    books: list[NewBook] = Field([], max_length=100)

    @field_validator("name")
    @classmethod
    def is_not_blank(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("is blank")
        return name.strip()


@app.get("/author/<int:id>")
def one_author(id: int):
    with engine.connect() as db:
        found = db.execute(select(author).where(author.c.id == id)).mappings().first()
        if found is None:
            return problem(404, f"no author {id}")
        books = db.execute(
            select(book.c.id, book.c.title, book.c.year, genre.c.name.label("genre"))
            .join(genre)
            .where(book.c.author_id == id)
            .order_by(book.c.year, book.c.id)
        ).mappings()
        books = [dict(row) for row in books]
    genres = sorted({row["genre"] for row in books})
    return shared(jsonify({**found, "genres": genres, "books": books}), f"author-{id}")


@app.get("/author")
def authors():
    page = Page.model_validate(request.args.to_dict())
    with engine.connect() as db:
        total = db.scalar(select(func.count()).select_from(author))
        rows = db.execute(
            select(author).order_by(author.c.name, author.c.id).limit(page.limit).offset(page.offset)
        ).mappings()
        rows = [dict(row) for row in rows]
    return shared(jsonify({"total": total, **page.model_dump(), "authors": rows}), PAGES)


@app.post("/author")
def new_author():
    new = NewAuthor.model_validate_json(request.get_data())
    with engine.begin() as db:
        genres = {name: id for id, name in db.execute(select(genre.c.id, genre.c.name))}
        unknown = sorted({b.genre for b in new.books} - genres.keys())
        if unknown:
            return problem(422, f"unknown genres: {', '.join(unknown)}")
        id = db.scalar(insert(author).values(name=new.name, born=new.born).returning(author.c.id))
        books = [
            {"author_id": id, "genre_id": genres[b.genre], "title": b.title, "year": b.year}
            for b in new.books
        ]
        if books:
            db.execute(insert(book), books)
    # After the commit, or the old state could be cached again; before the answer, so that who has it sees the new state.
    purge(PAGES)
    answer = jsonify({"id": id})
    answer.status_code = 201
    answer.headers["Location"] = f"/author/{id}"
    return answer


@app.errorhandler(ValidationError)
def invalid(error: ValidationError):
    wrong = [
        {"where": ".".join(str(part) for part in e["loc"]), "what": e["msg"]}
        for e in error.errors(include_url=False, include_context=False)
    ]
    return problem(422, "the request is not valid", wrong)


def shared(answer: Response, tags: str) -> Response:
    answer.headers["Cache-Control"] = CACHE_CONTROL
    answer.headers["Cache-Tag"] = tags
    # With an ETag, who has the answer already is told so with 304.
    answer.add_etag()
    return answer.make_conditional(request)


def problem(status: int, title: str, wrong: list | None = None) -> Response:
    """RFC 9457."""
    answer = jsonify({"status": status, "title": title, **({"errors": wrong} if wrong else {})})
    answer.status_code = status
    answer.content_type = "application/problem+json"
    return answer
