"""The bookstore's tables, and the same 100,000 authors and 1,000,000 books for everybody.

All of it is SQL that SQLite and PostgreSQL both understand, so that the database makes its rows by itself.
"""

from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
    text,
)

AUTHORS = 100_000
BOOKS_PER_AUTHOR = 10

metadata = MetaData()

author = Table(
    "author",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("born", Integer),
)
genre = Table(
    "genre",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), nullable=False, unique=True),
)
book = Table(
    "book",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("author_id", ForeignKey("author.id"), nullable=False),
    Column("genre_id", ForeignKey("genre.id"), nullable=False),
    Column("title", String(200), nullable=False),
    Column("year", Integer, nullable=False),
)
# Made after the rows, which is several times as fast.
indexes = [
    Index("author_by_name", author.c.name, author.c.id),
    Index("book_by_author", book.c.author_id),
]

GENRES = """Adventure Anthology Art Autobiography Biography Comedy Cookery Crime Dystopia Economics Epic Essay Fable
Fantasy Farce Gardening Gothic Graphic-Novel History Horror Humour Legend Letters Memoir Music Mystery Mythology Nature
Noir Novella Philosophy Poetry Politics Prose Psychology Reference Romance Satire Saga Science Science-Fiction Short-Story
Sport Spy Theatre Thriller Tragedy Travel War Western""".split()
FIRST = """Ada Agnes Alan Alma Amos Anna Anton Astrid Bela Berta Boris Carl Clara Clio Daria David Dora Edgar Edith
Elias Emil Emma Enid Erik Esther Ezra Fanny Felix Flora Frida Fritz Georg Greta Gustav Hanna Hector Heidi Henry Hugo Ida
Igor Ilse Irene Isaac Ivo Jakob Jane Johan Jonas Judith Jules Karin Kurt Lars Laura Leo Lena Lotte Luis Maja Marie Max
Mira Nils""".split()
LAST = """Abel Acker Adler Alder Amber Arden Arrow Ash Barber Barley Beck Bell Birch Bird Black Bloom Boone Bowman Brand
Bright Brook Brown Carver Chase Church Clay Cliff Cole Cook Cooper Crane Cross Dale Day Dean Drake Dyer East Elm Fair
Falk Farmer Field Finch Fisher Fletcher Flint Ford Forest Fox Frost Garden Glass Glover Gold Grant Gray Green Hall Hart
Hawk Hill Holm""".split()
KIND = """Brief Broken Bright Burning Cold Crooked Dark Distant Empty Endless Fallen First Forgotten Frozen Gentle Golden
Great Green Grey Hidden Hollow Hungry Inner Last Lost Little Lonely Long Mad New Northern Old""".split()
THING = """Age Bridge Castle City Clock Country Daughter Dream Empire Farm Garden Ghost Harbour House Island Journey King
Lake Letter Library Light Machine Map Mirror Moon Mountain Night Ocean Orchard River Road Sea Secret Shadow Ship Son Storm
Street Summer Tower Train Tree Valley Voyage Wall Winter Wood Year""".split()


def connect(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def prepare(connection, _record):
            # Readers and a writer do not wait for one another; two writers wait for 10 s at most.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA busy_timeout = 10000")

    return engine


def fill(engine: Engine, authors: int = AUTHORS) -> None:
    """Makes and fills the tables unless they are there; a half-filled database cannot be left behind."""
    if inspect(engine).has_table("author"):
        return
    words = {"first": FIRST, "last": LAST, "kind": KIND, "thing": THING}
    with engine.begin() as db:
        if engine.dialect.name == "postgresql":
            # Does not look up every foreign key of these rows, which are right; four times as fast.
            db.execute(text("SET LOCAL session_replication_role = replica"))
        metadata.create_all(db, tables=[author, genre, book])
        for index in indexes:
            index.drop(db)
        db.execute(genre.insert(), [{"id": n + 1, "name": name} for n, name in enumerate(GENRES)])
        db.execute(text("CREATE TEMPORARY TABLE word (list TEXT, place BIGINT, word TEXT, PRIMARY KEY (list, place))"))
        for name, members in words.items():
            rows = [{"list": name, "place": place, "word": word} for place, word in enumerate(members)]
            db.execute(text("INSERT INTO word VALUES (:list, :place, :word)"), rows)
        counts = {name: len(members) for name, members in words.items()}
        # Multiplied by primes, so that neighbours have little in common.
        db.execute(
            text(
                """
                INSERT INTO author (id, name, born)
                WITH RECURSIVE counter (n) AS (
                    SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM counter WHERE n < :authors
                )
                SELECT n, first.word || ' ' || last.word, 1850 + n * 31 % 150
                FROM counter
                JOIN word AS first ON first.list = 'first' AND first.place = n * 7 % :first
                JOIN word AS last ON last.list = 'last' AND last.place = n * 13 / 64 % :last
                """
            ),
            {"authors": authors, "first": counts["first"], "last": counts["last"]},
        )
        db.execute(
            text(
                """
                INSERT INTO book (id, author_id, genre_id, title, year)
                WITH RECURSIVE counter (n) AS (
                    SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM counter WHERE n + 1 < :books
                )
                SELECT
                    n + 1,
                    n / :each + 1,
                    (n / :each * 17 + n % :each % 4 * 11) % :genres + 1,
                    'The ' || kind.word || ' ' || thing.word,
                    1870 + n * 7 % 150
                FROM counter
                JOIN word AS kind ON kind.list = 'kind' AND kind.place = n * 11 % :kind
                JOIN word AS thing ON thing.list = 'thing' AND thing.place = n * 5 / 32 % :thing
                """
            ),
            {
                "books": authors * BOOKS_PER_AUTHOR,
                "each": BOOKS_PER_AUTHOR,
                "genres": len(GENRES),
                "kind": counts["kind"],
                "thing": counts["thing"],
            },
        )
        db.execute(text("DROP TABLE word"))
        for index in indexes:
            index.create(db)
        if engine.dialect.name == "postgresql":
            # The numbers after those given above.
            for table in ("author", "book"):
                db.execute(text(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))"))
    with engine.connect() as db:
        db.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
