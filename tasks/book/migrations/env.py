"""Alembic's entry: bring the book of the given connection up to date."""

from alembic import context

from tasks.book.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
