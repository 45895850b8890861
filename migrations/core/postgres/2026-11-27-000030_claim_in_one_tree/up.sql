-- In SQLite alone: PostgreSQL keeps an index of each table.
SELECT 1;
